"""One question to a thousand agents of one node: one stacked call against a thousand calls, in turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np

from node.brains.base import Ask, Brain
from node.brains.embedder import HashedEmbedder
from node.brains.head import HeadBrain
from node.brains.tiny import TinyBrain
from node.runtime import SystemRuntime
from tests.bench.life_world import CHOICES, digits
from tests.bench.report import Bar, Report

RUNTIME = SystemRuntime()
CROWD = 1_000
REPEATS = 45


def measure(seeds: Sequence[int], tell: Callable[[str], None], report: Report) -> None:
    tell("1,000 tiny:mlp agents")
    mlp = TinyBrain()
    mlp.load(lambda what, fraction: None)
    points = np.random.default_rng(1).normal(size=(REPEATS, 16)).tolist()
    _crowd(report, "mlp", mlp, (), points, mlp.transform, 2.0)
    tell("1,000 tiny:head agents")
    head = HeadBrain(embedder=HashedEmbedder)
    head.load(lambda what, fraction: None)
    _crowd(report, "head", head, tuple(CHOICES), digits(1).inputs[:REPEATS], head.choose, 60.0)
    seconds = report.results["head_first_ms"]
    assert isinstance(seconds, list)
    report.bars.append(Bar("1,000 tiny:head, the second question with new choices, ms", seconds[1], "<=", 100.0))


def _crowd(
    report: Report,
    name: str,
    brain: Brain,
    choices: tuple[str, ...],
    questions: Sequence[Sequence[float]],
    answer: Callable[[Sequence[Ask]], Sequence[object]],
    limit_ms: float,
) -> None:
    """Every question is a new one; the agents are the same and did not learn in between, so that what is stacked of them is kept."""
    rng = random.Random(1)
    genomes = [brain.seed(rng) for _ in range(CROWD)]
    together, apart = [], []
    for turn, question in enumerate(questions):
        asks = [Ask(genome, "", choices, tuple(question)) for genome in genomes]
        together.append(_ms(partial(answer, asks)))
        if turn % 15 == 0:
            apart.append(_ms(partial(_one_by_one, answer, asks)))
    report.results |= {
        f"{name}_first_ms": [round(value, 2) for value in together[:2]],
        f"{name}_stacked_p50_ms": round(median(together[2:]), 3),
        f"{name}_separate_ms": round(median(apart), 3),
    }
    report.bars.append(Bar(f"1,000 tiny:{name} in one call, p50 ms", median(together[2:]), "<=", limit_ms, median(apart)))


def _one_by_one(answer: Callable[[Sequence[Ask]], Sequence[object]], asks: Sequence[Ask]) -> None:
    for ask in asks:
        answer([ask])


def _ms(work: Callable[[], object]) -> float:
    began = RUNTIME.monotonic()
    work()
    return (RUNTIME.monotonic() - began) * 1e3
