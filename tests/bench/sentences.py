"""Calibration on real answers: Gemma 270M on 200 labelled sentences written for this (`tests/data/sentences.jsonl`), split in two.

The first half teaches weights and the map, the second is judged. Baselines: the best single agent (on the first half), the majority, the
surest agent. Needs the weights and about a quarter of an hour on one busy core; `python -m tests.bench.sentences` runs it alone.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from node.agents.canaries import corrected, topics_to_correct
from node.brains.base import Ask, Choice, Example
from node.brains.examples import pick
from node.brains.gemma.brain import GemmaBrain
from node.council.canaries import Canary, CanarySet
from node.runtime import SystemRuntime
from protocol.aggregate import log_odds, pool, ranked
from protocol.calibration import confidence, fit
from protocol.topics import TopicModel
from protocol.weights import groups, weights
from tests.bench.consensus import calibration_error, risk_coverage

SENTENCES = Path(__file__).parents[1] / "data" / "sentences.jsonl"
AGENTS, BATCH = 3, 8


def measure_sentences(seed: int = 1) -> dict[str, Any]:
    """Error of calibration and area under risk-coverage on the second half, ours and the baselines'."""
    rows = [msgspec.json.decode(line, type=Canary) for line in SENTENCES.read_bytes().splitlines()]
    answers = _answers(rows, seed)
    first, second = range(0, len(rows), 2), range(1, len(rows), 2)
    asked = [Example(row.topic, row.question, tuple(row.choices), row.answer) for row in rows]
    logprobs = [_best_form(asked, own, list(first)) for own in answers]
    marks = [{str(n): ranked(own[n])[0] == rows[n].right for n in first} for own in logprobs]
    numbers, rho = groups(["gemma"] * AGENTS, marks)
    tally = [(float(sum(own.values())), float(len(own) - sum(own.values()))) for own in marks]
    learnt = weights([(good, bad, group) for (good, bad), group in zip(tally, numbers, strict=True)], rho, 2)

    def ours(n: int) -> tuple[int, float]:
        heard = [(odds, w) for own, w in zip(logprobs, learnt, strict=True) if (odds := log_odds(own[n])) is not None]
        if not heard:
            return 0, 0.0
        pooled = pool([odds for odds, _ in heard], [w for _, w in heard])
        return ranked(pooled)[0], max(pooled)

    steps = fit((top, best == rows[n].right) for n in first for best, top in [ours(n)])
    best_agent = max(range(AGENTS), key=lambda index: tally[index][0])
    right: dict[str, list[bool]] = {}
    sure: dict[str, list[float]] = {}
    for n in second:
        best, top = ours(n)
        firsts = [ranked(own[n])[0] for own in logprobs]
        (leader, count), *_ = Counter(firsts).most_common()
        surest = max(range(AGENTS), key=lambda index: max(logprobs[index][n]))
        given = {
            "ours": (best, confidence(steps, top) or 0.0),
            "best single agent": (firsts[best_agent], _chance(logprobs[best_agent][n])),
            "unweighted majority": (leader, count / AGENTS),
            "surest agent": (firsts[surest], _chance(logprobs[surest][n])),
        }
        for name, (answer, certainty) in given.items():
            right.setdefault(name, []).append(answer == rows[n].right)
            sure.setdefault(name, []).append(certainty)
    return {
        name: {
            "right": round(sum(right[name]) / len(right[name]), 3),
            "calibration error": round(calibration_error(right[name], sure[name]), 4),
            "area under risk-coverage": round(risk_coverage(right[name], sure[name]), 4),
        }
        for name in right
    }


def _chance(logprobs: tuple[float, ...]) -> float:
    return math.exp(max(logprobs))


def _answers(rows: list[Canary], seed: int) -> list[list[Choice]]:
    """By agent, by sentence."""
    brain, rng = GemmaBrain(SystemRuntime(), None), random.Random(seed)
    brain.load(lambda *_: None)
    shipped = CanarySet.load().canaries
    topics = TopicModel((one.topic, one.question, one.choices) for one in shipped)
    answers = []
    order = sorted(range(len(rows)), key=lambda n: rows[n].topic)
    for _ in range(AGENTS):
        genome = brain.seed(rng)
        held = [str(name) for name in genome.settings["examples"]]
        own: dict[int, Choice] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            asks = [
                Ask(
                    genome,
                    rows[n].question,
                    tuple(rows[n].choices),
                    examples=pick(held, topics.infer(rows[n].question, rows[n].choices)),
                )
                for n in batch
            ]
            own.update(zip(batch, brain.choose(asks), strict=True))
        answers.append([own[n] for n in range(len(rows))])
    return answers


def _best_form(asked: list[Example], own: list[Choice], learn_from: list[int]) -> list[tuple[float, ...]]:
    """Raw or with the prior taken out, per topic, as the first half decides."""
    corrects = topics_to_correct([asked[n] for n in learn_from], [own[n] for n in learn_from])
    return [corrected(one) if corrects.get(row.topic) and one.prior else one.logprobs for row, one in zip(asked, own, strict=True)]


if __name__ == "__main__":
    print(json.dumps(measure_sentences(), indent=2))
