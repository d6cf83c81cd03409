"""Whether selection pays: the same founders, places, questions and rule of division, with the least fit dying or whoever.

One node has places for 24 agents, all taken; a panel of three, drawn afresh, answers each of 1,200 questions and learns from "right" or
"wrong". An agent divides after 40 answers, and somebody dies for the child. So the panel is as good as the population it is drawn from.
Founders differ in their step length over three orders of magnitude (log-uniform): that is what there is to select from. Afterwards
panels of three answer the held-out digits, and nobody learns, divides or dies. The setting was chosen on seeds 101 to 105.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean

from node.agents.agent import Agent
from node.agents.selection import Selection, least_fit
from node.brains.base import Genome
from node.brains.embedder import HashedEmbedder
from node.brains.head import HeadBrain
from node.brains.head_genome import RATE, RATE_RANGE
from tests.bench.life_digits import interval
from tests.bench.life_world import TRAIN, Class, Digits, digits, examine, lesson, study
from tests.bench.report import Bar, Report

SEEDS = tuple(range(1, 11))
PLACES, PANEL = 24, 3
THRESHOLD = 40
SPREAD = (-2.5, 0.4)
"""Founders' step lengths, as powers of ten of the usual one."""


class Motley(HeadBrain):
    """Founders that differ in how fast they learn."""

    def seed(self, rng: random.Random) -> Genome:
        genome = super().seed(rng)
        return Genome(genome.brain, genome.tensors, {**genome.settings, "rate": max(RATE_RANGE[0], RATE * 10 ** rng.uniform(*SPREAD))})


def random_death(rng: random.Random) -> Selection:
    """The same places and births, and whoever."""

    def pick(agents: Sequence[Agent], spare: frozenset[bytes], now: float) -> Agent | None:
        left = sorted((agent for agent in agents if agent.agent_id not in spare), key=lambda agent: agent.agent_id)
        return rng.choice(left) if left else None

    return pick


def measure(seeds: Sequence[int], tell: Callable[[str], None], report: Report) -> None:
    gains: dict[str, list[float]] = {"consensus": [], "mean_agent": []}
    pairs = []
    for seed in seeds or SEEDS:
        data, final = digits(seed), []
        for name, selection in (("on", least_fit), ("off", random_death(random.Random(seed)))):
            tell(f"evolution, seed {seed}, selection {name}")
            brain = partial(Motley, embedder=HashedEmbedder)
            main = partial(_evolve, data=data, seed=seed)
            final.append(lesson(seed, main, nodes=1, agents=PLACES, brain=brain, threshold=THRESHOLD, selection=selection, panel=PANEL))
        for key, values in gains.items():
            values.append(final[0][key] - final[1][key])
        pairs.append([{key: round(value, 4) for key, value in one.items()} for one in final])
    for key, values in gains.items():
        report.results |= {f"evolution_{key}_gain": round(mean(values), 4), f"evolution_{key}_gain_95": interval(values)}
    report.results["evolution_on_off"] = pairs
    if bounds := report.results["evolution_consensus_gain_95"]:
        report.bars.append(Bar("evolution: lower end of the 95% interval of the gain", bounds[0], ">=", 1e-9))


async def _evolve(swarm: Class, data: Digits, seed: int) -> dict[str, float]:
    await study(swarm, data, TRAIN, 0.0, seed, pause_s=1.0)
    agents = [agent for host in swarm.hosts for agent in host.population.all()]
    figures = {
        "generation": mean(agent.generation for agent in agents),
        "families": float(len({agent.family for agent in agents})),
        "slow": float(sum(float(agent.genome.settings["rate"]) < RATE / 10 for agent in agents)),
    }
    for host in swarm.hosts:
        host.on_interaction = lambda agent: None
    return await examine(swarm, data) | figures
