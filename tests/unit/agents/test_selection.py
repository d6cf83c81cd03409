"""Who dies first, who may divide soon, and who has a child with whom."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from node.agents.agent import Agent
from node.agents.fitness import Fitness
from node.agents.mating import child_genome, mate_for
from node.agents.novelty import note_novelty
from node.agents.selection import least_fit, threshold_of, worth
from node.brains.base import Genome
from node.brains.edits import mixed
from node.testing.brain import ScriptedBrain
from protocol.identity import NodeKey
from protocol.lineage import conceive

NOW = 2_000_000_000.0
KEY = NodeKey.from_seed(bytes(32))
PLAIN = Genome("scripted")


def rated(mean: float, ratings: float = 30.0) -> Fitness:
    return Fitness(ratings * mean, ratings * (1.0 - mean), NOW)


def founder(number: int, fitness: Fitness, genome: Genome = PLAIN) -> Agent:
    agent_id, chain = conceive(KEY, b"", [], 0, bytes(32), number.to_bytes(16, "big"))
    return Agent(agent_id, genome, NOW - 1_000.0 + number, fitness=fitness, lineage=tuple(chain))


def child(number: int, parent: Agent, fitness: Fitness, genome: Genome = PLAIN) -> Agent:
    agent_id, chain = conceive(KEY, parent.agent_id, parent.lineage, parent.generation + 1, bytes(32), number.to_bytes(16, "big"))
    return Agent(agent_id, genome, NOW - 500.0 + number, 1, parent.agent_id, fitness=fitness, lineage=tuple(chain))


def dies(agents: Sequence[Agent], *spare: Agent) -> Agent | None:
    return least_fit(agents, frozenset(agent.agent_id for agent in spare), NOW)


# ---- death ---------------------------------------------------------------------------------------------------------------


def test_nobody_dies_where_all_are_spared_or_there_is_nobody() -> None:
    one = founder(1, rated(0.2))
    assert dies([]) is None
    assert dies([one], one) is None


def test_the_least_fit_dies() -> None:
    agents = [founder(number, rated(mean)) for number, mean in enumerate((0.9, 0.3, 0.6))]
    assert dies(agents) is agents[1]
    assert dies(agents, agents[1]) is agents[2]


def test_of_equals_the_oldest_dies() -> None:
    agents = [founder(number, rated(0.5)) for number in (3, 1, 2)]
    assert dies(agents) is agents[1]


def test_a_newborn_of_a_fit_parent_does_not_die_before_it_was_tried() -> None:
    fit, weak = founder(1, rated(0.9)), founder(2, rated(0.7))
    newborn = child(3, fit, fit.fitness.inherited())
    assert newborn.fitness.mean < weak.fitness.mean + 0.1
    assert dies([fit, weak, newborn]) is weak


def test_a_newborn_that_fails_dies() -> None:
    fit, weak = founder(1, rated(0.9)), founder(2, rated(0.7))
    failing = fit.fitness.inherited()
    for _ in range(12):
        failing = failing.rated(0.0, now=NOW)
    newborn = child(3, fit, failing)
    assert dies([fit, weak, newborn]) is newborn


def test_praise_of_long_ago_does_not_protect() -> None:
    once, now = founder(1, Fitness(30.0, 0.0, NOW - 60 * 86_400.0)), founder(2, rated(0.97))
    assert worth(once, 0.5, NOW) < worth(founder(3, Fitness(30.0, 0.0, NOW)), 0.5, NOW)
    assert dies([once, now]) is once


def test_the_elder_of_a_line_outlives_its_children_while_it_is_as_fit_as_most() -> None:
    elder = founder(1, rated(0.6))
    young = child(2, elder, rated(0.65))
    others = [founder(3, rated(0.3)), founder(4, rated(0.4))]
    assert dies([elder, young, *others], *others) is young
    assert dies([elder, *others], *others) is elder


def test_an_elder_that_is_worse_than_most_is_judged_like_anybody() -> None:
    elder = founder(1, rated(0.2))
    agents = [elder, child(2, elder, rated(0.6)), founder(3, rated(0.8)), founder(4, rated(0.8))]
    assert dies(agents) is elder


def test_a_family_that_is_most_of_the_node_pays_for_it() -> None:
    elder = founder(1, rated(0.9))
    crowd = [elder, *(child(number, elder, rated(0.8)) for number in range(2, 7))]
    lone = founder(9, rated(0.65))
    victim = dies([*crowd, lone])
    assert victim in crowd
    assert victim is not elder


def test_who_answers_differently_has_a_little_more_worth_and_only_by_being_right() -> None:
    same, apart = founder(1, rated(0.6)), founder(2, rated(0.6))
    same.novelty, apart.novelty = 0.0, 1.0
    assert dies([apart, same]) is same
    wrong = founder(3, rated(0.1))
    wrong.novelty = 1.0
    assert dies([same, wrong]) is wrong


def test_novelty_is_how_often_the_others_chose_something_else() -> None:
    agents = [founder(number, rated(0.5)) for number in range(4)]
    for _ in range(200):
        note_novelty(agents, [(0.0, -9.0), (0.0, -9.0), (-9.0, 0.0), ()])
    assert agents[2].novelty == pytest.approx(1.0, abs=0.01)
    assert agents[0].novelty == agents[1].novelty == pytest.approx(0.5, abs=0.01)
    assert agents[3].novelty == 0.5
    note_novelty(agents[:1], [(0.0,)])
    assert agents[0].novelty == pytest.approx(0.5, abs=0.01)


# ---- birth ---------------------------------------------------------------------------------------------------------------


def test_the_fit_divide_sooner_and_all_later_on_a_full_node() -> None:
    fit, weak = founder(1, rated(0.9)), founder(2, rated(0.1))
    assert threshold_of(10, fit, 8, 8) < 10 < threshold_of(10, weak, 8, 8) <= 20
    assert threshold_of(10, weak, 0, 8) > threshold_of(10, weak, 4, 8) == threshold_of(10, weak, 8, 8)
    assert threshold_of(1, fit, 8, 8) == 1


def matings(parent: Agent, agents: Sequence[Agent]) -> set[bytes]:
    rng = random.Random(1)
    return {mate.agent_id for _ in range(200) if (mate := mate_for(parent, agents, NOW, rng)) is not None}


def test_an_unfit_or_untried_agent_is_no_mate() -> None:
    agents = [founder(1, rated(0.8)), founder(2, rated(0.9)), founder(3, rated(0.3)), founder(4, Fitness(1.0, 0.0, NOW))]
    assert matings(agents[0], agents) == {agents[1].agent_id}
    assert matings(agents[2], agents) == set()
    assert matings(agents[3], agents) == set()
    assert matings(founder(9, rated(0.9)), agents) == set()
    assert matings(agents[0], agents[:1]) == set()


def test_agents_with_weights_mate_within_their_family() -> None:
    weights = Genome("tiny:head", {"w": np.zeros((1, 1), np.float32)})
    one = founder(1, rated(0.8), weights)
    kin, stranger = child(2, one, rated(0.8), weights), founder(3, rated(0.8), weights)
    assert matings(one, [one, kin, stranger]) == {kin.agent_id}


def test_a_child_of_two_is_mixed_and_one_that_cannot_be_is_its_first_parents() -> None:
    class Speaker(ScriptedBrain):
        def cross(self, genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
            return mixed(genome, other, rng) if other.settings else None

        def mutate(self, genome: Genome, rng: random.Random) -> Genome:
            return genome

    one, other = (ScriptedBrain().seed(random.Random(number)) for number in (1, 2))
    persona = Genome(other.brain, other.tensors, {**other.settings, "persona": "calm"})
    child, both = child_genome(Speaker(), one, persona, random.Random(1))
    assert both
    assert child.settings["persona"] == "calm"
    assert child_genome(Speaker(), one, Genome(one.brain), random.Random(1))[1] is False
    assert child_genome(Speaker(), one, None, random.Random(1))[1] is False
