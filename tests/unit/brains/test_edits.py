"""What a language agent's child may differ in, and what it has of two parents."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.agents.genome import pack, unpack
from node.brains.base import Ask, Genome
from node.brains.edits import MAX_PERSONA, MAX_REWORDED, PERSONAS, TEMPERATURES, edited, mixed, persona_of, reworded
from node.brains.examples import SHOTS, bank_by_id
from node.testing.brain import ScriptedBrain
from protocol.errors import NotAvailable

BANK = list(bank_by_id())


def cannot(persona: str) -> None:
    return None


def parent(number: int = 0) -> Genome:
    rng = random.Random(number)
    return Genome(
        "gemma:270m", settings={"persona": PERSONAS[number % 6], "temperature": 1.0 + number / 10, "examples": rng.sample(BANK, 12)}
    )


def children(genome: Genome, count: int = 200) -> list[dict[str, Any]]:
    return [dict(edited(genome, random.Random(number), cannot).settings) for number in range(count)]


@given(
    st.dictionaries(
        st.sampled_from(["persona", "temperature", "examples", "other"]),
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9)
        | st.lists(st.sampled_from([*BANK[:9], "unknown", 3])),
    ),
    st.integers(0, 2**32),
)
def test_whatever_a_peers_genome_holds_its_child_packs(settings: dict[str, Any], seed: int) -> None:
    child = edited(mixed(Genome("toy", settings=settings), parent(), random.Random(seed)), random.Random(seed), cannot)
    assert unpack(pack(Genome("toy", settings=child.settings)), "toy", {}).settings == child.settings


@pytest.mark.parametrize("said", ["", "No.", "x" * (MAX_REWORDED + 1), "Two lines\nof text are no sentence", PERSONAS[0]])
def test_what_is_no_sentence_is_not_taken_for_a_rewording(said: str) -> None:
    assert reworded(ScriptedBrain(script=lambda ask: said), PERSONAS[0]) is None


def test_a_model_that_fails_does_not_stop_the_birth() -> None:
    def fail(ask: Ask) -> str:
        raise NotAvailable("the server is gone")

    assert reworded(ScriptedBrain(script=fail), PERSONAS[0]) is None


def test_a_persona_is_reworded_by_the_model_where_it_can_write() -> None:
    brain = ScriptedBrain(script=lambda ask: '"Doubt what seems plain, and say why."')
    said = {edited(parent(), random.Random(number), lambda text: reworded(brain, text)).settings["persona"] for number in range(100)}
    assert "Doubt what seems plain, and say why." in said
    assert said & set(PERSONAS[1:])


def test_children_differ_from_their_parent_in_every_way_of_the_grammar() -> None:
    genome = parent()
    held = genome.settings["examples"]
    found = children(genome)
    examples = [child["examples"] for child in found]
    assert any(len(own) > len(held) for own in examples)
    assert any(len(own) < len(held) for own in examples)
    assert any(len(own) == len(held) and set(own) != set(held) for own in examples)
    assert any(own != held and sorted(own) == sorted(held) for own in examples)
    assert any(child["persona"] != genome.settings["persona"] for child in found)
    assert any(child["temperature"] != genome.settings["temperature"] for child in found)
    assert sum(child == genome.settings for child in found) < 5


def test_a_line_of_many_generations_stays_within_bounds() -> None:
    genome, rng = parent(), random.Random(1)
    for _ in range(300):
        genome = edited(genome, rng, cannot)
        held = genome.settings["examples"]
        assert SHOTS <= len(held) == len(set(held)) <= len(BANK)
        assert TEMPERATURES[0] <= genome.settings["temperature"] <= TEMPERATURES[1]
        assert genome.settings["persona"] in PERSONAS


def test_a_child_of_two_has_traits_and_examples_of_both() -> None:
    one, other = parent(0), parent(1)
    found = [mixed(one, other, random.Random(number)).settings for number in range(50)]
    assert {child["persona"] for child in found} == {PERSONAS[0], PERSONAS[1]}
    assert {child["temperature"] for child in found} == {1.0, 1.1}
    for child in found:
        own = set(child["examples"])
        assert own <= set(one.settings["examples"]) | set(other.settings["examples"])
        assert own & set(one.settings["examples"])
        assert own & set(other.settings["examples"])
        assert len(own) == len(child["examples"]) <= 12


def test_a_persona_of_a_peer_is_cut_to_what_a_prompt_bears() -> None:
    assert len(persona_of(Genome("toy", settings={"persona": "x" * 9_000}))) == MAX_PERSONA
    assert persona_of(Genome("toy", settings={"persona": 3})) == ""
