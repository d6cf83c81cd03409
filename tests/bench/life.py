"""Living agents: what a swarm learns from "right" and "wrong" alone, whether selection pays, what many agents cost.

Digits: 12 `tiny:head` agents on 3 nodes, one stream of 1,200 questions, each answer rated right or wrong by one of ten raters; then 597
held out. The central model is one head with as many weights as the twelve together, on the same stream with the same kind of feedback.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, median, stdev

import numpy as np

from node.agents.agent import Agent
from node.agents.selection import Selection, least_fit
from node.brains.base import Ask, Brain, Genome
from node.brains.embedder import HashedEmbedder
from node.brains.head import HIDDEN, RATE, HeadBrain
from node.brains.tiny import TinyBrain
from node.runtime import SystemRuntime
from tests.bench.life_births import births_ms
from tests.bench.life_world import CHOICES, TRAIN, Class, Digits, digits, examine, lesson, study
from tests.bench.report import Bar, Report

RUNTIME = SystemRuntime()
EVOLVE_SEEDS = 10
EVOLVE_QUESTIONS = 600
EVOLVE_THRESHOLD = 60
T_9 = 2.262
"""Student's t, two-sided 95%, 9 degrees of freedom."""
CROWD = 1_000
REPEATS = 15


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """Digits: means over `seeds` orders of the data. Evolution: always ten seeds."""
    report = Report()
    _digits(seeds, tell, report)
    _evolution(tell, report)
    _crowds(tell, report)
    tell("births on another node")
    births = births_ms()
    report.results |= {name: round(value, 2) for name, value in births.items()}
    report.bars.append(Bar("one tiny:mlp birth on another node over loopback, p50 ms", births["birth_p50_ms"], "<=", 50.0))
    return report


# ---- learning ------------------------------------------------------------------------------------------------------------


def _digits(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    rows: dict[str, list[dict[str, float]]] = {"truth": [], "liars": [], "central": []}
    for seed in range(1, seeds + 1):
        data = digits(seed)
        for name, liars, nodes, agents, hidden in (("truth", 0.0, 3, 4, 1), ("liars", 0.3, 3, 4, 1), ("central", 0.0, 1, 1, 12)):
            tell(f"digits, {name}, seed {seed} of {seeds}")
            brain = partial(HeadBrain, hidden=HIDDEN * hidden, bank=HIDDEN * hidden if hidden > 1 else 4_096, embedder=HashedEmbedder)
            rows[name].append(lesson(seed, partial(_course, data=data, liars=liars, seed=seed), nodes=nodes, agents=agents, brain=brain))
    for name, figures in rows.items():
        report.results |= {f"digits_{name}_{key}": round(mean(row[key] for row in figures), 4) for key in figures[0]}
        report.results[f"digits_{name}_per_seed"] = [round(row["consensus"], 4) for row in figures]
    found = report.results
    together = found["digits_truth_consensus"]
    report.bars += [
        Bar("digits: consensus from score-only feedback", together, ">=", 0.95, found["digits_central_consensus"]),
        Bar("digits: consensus against the best single agent", together, ">=", found["digits_truth_best_agent"]),
        Bar("digits: consensus above the mean single agent", together - found["digits_truth_mean_agent"], ">=", 0.0001),
        Bar("digits: within 2 points of one central model", together - found["digits_central_consensus"], ">=", -0.02),
        Bar("digits: 30% of raters lie", found["digits_liars_consensus"], ">=", 0.90),
    ]


async def _course(swarm: Class, data: Digits, liars: float, seed: int) -> dict[str, float]:
    await study(swarm, data, TRAIN, liars, seed)
    return await examine(swarm, data)


# ---- evolution -----------------------------------------------------------------------------------------------------------


class Motley(HeadBrain):
    """Founders whose step length spreads over three orders of magnitude: something to select from."""

    def seed(self, rng: random.Random) -> Genome:
        genome = super().seed(rng)
        return Genome(genome.brain, genome.tensors, {**genome.settings, "rate": RATE * 10 ** rng.uniform(-2.5, 0.4)})


def random_death(rng: random.Random) -> Selection:
    """The same places and births, and whoever."""

    def pick(agents: Sequence[Agent], spare: frozenset[bytes], now: float) -> Agent | None:
        left = sorted((agent for agent in agents if agent.agent_id not in spare), key=lambda agent: agent.agent_id)
        return rng.choice(left) if left else None

    return pick


def _evolution(tell: Callable[[str], None], report: Report) -> None:
    gains = []
    pairs = []
    for seed in range(1, EVOLVE_SEEDS + 1):
        tell(f"evolution, seed {seed} of {EVOLVE_SEEDS}")
        data, final = digits(seed), []
        for selection in (least_fit, random_death(random.Random(seed))):
            main = partial(_evolve, data=data, seed=seed)
            found = lesson(
                seed,
                main,
                nodes=2,
                agents=5,
                brain=partial(Motley, embedder=HashedEmbedder),
                threshold=EVOLVE_THRESHOLD,
                selection=selection,
            )
            final.append(found["consensus"])
        gains.append(final[0] - final[1])
        pairs.append([round(value, 4) for value in final])
    half = T_9 * stdev(gains) / math.sqrt(len(gains))
    report.results |= {
        "evolution_gain": round(mean(gains), 4),
        "evolution_gain_95": [round(mean(gains) - half, 4), round(mean(gains) + half, 4)],
        "evolution_on_off": pairs,
    }
    report.bars.append(Bar("evolution: lower end of the 95% interval of the gain", mean(gains) - half, ">=", 1e-9))


async def _evolve(swarm: Class, data: Digits, seed: int) -> dict[str, float]:
    await study(swarm, data, EVOLVE_QUESTIONS, 0.0, seed, pause_s=1.0)
    return await examine(swarm, data)


# ---- many agents ---------------------------------------------------------------------------------------------------------


def _crowds(tell: Callable[[str], None], report: Report) -> None:
    """One question to 1,000 agents: one stacked call against 1,000 calls, in turns."""
    tell("1,000 tiny:mlp agents")
    mlp = TinyBrain()
    mlp.load(lambda what, fraction: None)
    point = tuple(np.random.default_rng(1).normal(size=16).tolist())
    _crowd(report, "mlp", mlp, lambda genome: Ask(genome, embedding=point), mlp.transform, 2.0)
    tell("1,000 tiny:head agents")
    head = HeadBrain(embedder=HashedEmbedder)
    head.load(lambda what, fraction: None)
    digit = tuple(digits(1).inputs[0])
    _crowd(report, "head", head, lambda genome: Ask(genome, "", tuple(CHOICES), digit), head.choose, 60.0)


def _crowd(
    report: Report,
    name: str,
    brain: Brain,
    ask: Callable[[Genome], Ask],
    answer: Callable[[Sequence[Ask]], Sequence[object]],
    limit_ms: float,
) -> None:
    rng = random.Random(1)
    asks = [ask(brain.seed(rng)) for _ in range(CROWD)]
    answer(asks)
    together, apart = [], []
    for turn in range(REPEATS):
        together.append(_ms(lambda: answer(asks)))
        if turn % 5 == 0:
            apart.append(_ms(lambda: [answer([one]) for one in asks]))
    report.results |= {f"{name}_stacked_p50_ms": round(median(together), 3), f"{name}_separate_ms": round(median(apart), 3)}
    report.bars.append(Bar(f"1,000 tiny:{name} in one call, p50 ms", median(together), "<=", limit_ms, median(apart)))


def _ms(work: Callable[[], object]) -> float:
    began = RUNTIME.monotonic()
    work()
    return (RUNTIME.monotonic() - began) * 1e3
