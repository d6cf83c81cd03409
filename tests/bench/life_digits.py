"""Handwritten digits learnt from "right" and "wrong" alone: 12 `tiny:head` agents on 3 nodes, 1,200 questions, 597 held out.

Each answer of the council is rated by one of ten raters, of whom some may always lie. The central model is one head with as many weights
as the twelve together, on the same stream with the same kind of feedback; its step length, steps and batch are the best of twelve
settings on seeds 101 to 103 (the agents keep what they are shipped with).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, stdev

from node.brains.base import Brain, Genome
from node.brains.embedder import HashedEmbedder
from node.brains.head import HIDDEN, HeadBrain
from tests.bench.life_world import TRAIN, Class, Digits, digits, examine, lesson, study
from tests.bench.report import Bar, Report

SEEDS = (21, 22, 23, 24, 25)
PIECES = ("digits", "liars", "central")
AGENTS = 12
CENTRAL_RATE, CENTRAL_STEPS, CENTRAL_BATCH = 80.0, 8, 128

Tell = Callable[[str], None]


class Central(HeadBrain):
    """One head as large as twelve, over all features of its bank."""

    def __init__(self) -> None:
        size = AGENTS * HIDDEN
        super().__init__(hidden=size, bank=size, steps=CENTRAL_STEPS, batch=CENTRAL_BATCH, bagging=False, embedder=HashedEmbedder)

    def seed(self, rng: random.Random) -> Genome:
        genome = super().seed(rng)
        return Genome(genome.brain, genome.tensors, {**genome.settings, "rate": CENTRAL_RATE})


def honest(seeds: Sequence[int], tell: Tell, report: Report) -> None:
    _course("digits", seeds, tell, report)
    found = report.results
    together = found["digits_consensus"]
    report.bars += [
        Bar("digits: consensus from score-only feedback", together, ">=", 0.95),
        Bar("digits: consensus against the best single agent", together, ">=", found["digits_best_agent"]),
        Bar("digits: consensus above the mean single agent", together - found["digits_mean_agent"], ">=", 0.0001),
    ]


def liars(seeds: Sequence[int], tell: Tell, report: Report) -> None:
    _course("liars", seeds, tell, report, lying=0.3)
    report.bars.append(Bar("digits: 30% of raters lie", report.results["liars_consensus"], ">=", 0.90))


def central(seeds: Sequence[int], tell: Tell, report: Report) -> None:
    _course("central", seeds, tell, report, nodes=1, agents=1, brain=Central)


def compare(report: Report) -> None:
    """The swarm beside the central model, where both were measured on the same seeds."""
    found = report.results
    if "digits_consensus" in found and found["digits_seeds"] == found.get("central_seeds"):
        gain = found["digits_consensus"] - found["central_consensus"]
        report.bars.append(Bar("digits: within 2 points of one central model", gain, ">=", -0.02))


def _course(
    name: str,
    seeds: Sequence[int],
    tell: Tell,
    report: Report,
    *,
    lying: float = 0.0,
    nodes: int = 3,
    agents: int = AGENTS // 3,
    brain: Callable[[], Brain] = lambda: HeadBrain(embedder=HashedEmbedder),
) -> None:
    """The stream and the examination on every seed: means, their 95% intervals, and each seed's consensus."""
    rows: list[dict[str, float]] = []
    for seed in seeds or SEEDS:
        tell(f"{name}, seed {seed}")
        rows.append(lesson(seed, partial(_study, data=digits(seed), lying=lying, seed=seed), nodes=nodes, agents=agents, brain=brain))
    report.results[f"{name}_seeds"] = list(seeds or SEEDS)
    for key in rows[0]:
        values = [row[key] for row in rows]
        report.results[f"{name}_{key}"] = round(mean(values), 4)
        report.results[f"{name}_{key}_95"] = interval(values)
    report.results[f"{name}_per_seed"] = [{key: round(value, 4) for key, value in row.items()} for row in rows]


async def _study(swarm: Class, data: Digits, lying: float, seed: int) -> dict[str, float]:
    await study(swarm, data, TRAIN, lying, seed)
    return await examine(swarm, data)


def interval(values: Sequence[float]) -> list[float]:
    """95% of Student's t about the mean; empty for a single value."""
    if len(values) < 2:
        return []
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return [round(mean(values) - half, 4), round(mean(values) + half, 4)]
