"""Calibration on real answers: Gemma 270M on 200 labelled sentences written for this (`tests/data/sentences.jsonl`), split in two.

Each half teaches leanings, weights and the map by which the other is judged; figures are over all 200. Baselines: the best single
agent (on the half that teaches), the majority, the surest agent. Five crews, judged each and together; half a minute a crew on an
idle core. Needs the weights, so it runs only by name: `MOOT_BENCH=sentences python -m tests.bench council`, or
`python -m tests.bench.sentences [SEED ...]` with genomes' seeds of one's own.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from node.brains.base import Ask, Choice
from node.brains.examples import pick
from node.brains.gemma.brain import GemmaBrain
from node.council.canaries import Canary, CanarySet
from node.runtime import SystemRuntime
from protocol.aggregate import log_odds, pool, ranked
from protocol.calibration import confidence, fit
from protocol.leanings import FOLDS, Mark, choices_key, cross_fitted, lean_of, level
from protocol.topics import TopicModel
from protocol.weights import Evidence, groups, merge_raters, weights
from tests.bench.consensus import Score, calibration_error, joined, risk_coverage
from tests.bench.report import Bar, Report

SENTENCES = Path(__file__).parents[1] / "data" / "sentences.jsonl"
AGENTS, BATCH = 3, 8
CREWS = (1, 2, 3, 4, 5)
"""Seeds of the crews' genomes."""
BASELINES = ("best single agent", "unweighted majority", "surest agent")


def measure_sentences(seeds: Sequence[int], tell: Callable[[str], None], report: Report) -> None:
    """Share right, error of calibration and area under risk-coverage over all sentences, for each crew and for all together."""
    rows = [msgspec.json.decode(line, type=Canary) for line in SENTENCES.read_bytes().splitlines()]
    brain = GemmaBrain(SystemRuntime(), None)
    brain.load(lambda *_: None)
    crews = {}
    for seed in seeds:
        tell(f"200 sentences, crew {seed}")
        crews[f"crew {seed}"] = judge(rows, [[one.logprobs for one in own] for own in _answers(brain, rows, seed)])
    if len(seeds) > 1:
        crews["all crews together"] = joined(list(crews.values()))
    report.results["sentences"] = {name: figures(crew) for name, crew in crews.items()}
    for name, found in report.results["sentences"].items():
        area = {method: row["area under risk-coverage"] for method, row in found.items()}
        best = min(area[baseline] for baseline in BASELINES)
        report.bars += [
            Bar(f"270M: calibration error, {name}", found["ours"]["calibration error"], "<=", 0.05, found["ours"]["of a perfect map"]),
            Bar(f"270M: best baseline's area under risk-coverage minus ours, {name}", round(best - area["ours"], 4), ">=", 0.0),
        ]


def judge(rows: Sequence[Canary], answers: Sequence[Sequence[Sequence[float]]]) -> Score:
    """`answers`: log-probabilities by agent, by sentence. Each half is judged with what the other taught."""
    score = Score()
    for half in (0, 1):
        panel = _Panel(rows, answers, range(half, len(rows), 2))
        for n in range(1 - half, len(rows), 2):
            for name, (answer, certainty) in panel.answer(n).items():
                score.right.setdefault(name, []).append(answer == rows[n].right)
                score.sure.setdefault(name, []).append(certainty)
    return score


def figures(score: Score) -> dict[str, Any]:
    """By method. `of a perfect map`: the calibration error that so few answers give on average when every confidence is exactly true."""
    rng, found = random.Random(1), {}
    for name, right in score.right.items():
        sure = score.sure[name]
        perfect = [calibration_error([rng.random() < s for s in sure], sure) for _ in range(200)]
        found[name] = {
            "right": round(score.share(name), 3),
            "calibration error": round(calibration_error(right, sure), 4),
            "of a perfect map": round(math.fsum(perfect) / len(perfect), 4),
            "area under risk-coverage": round(risk_coverage(right, sure), 4),
        }
    return found


class _Panel:
    """The agents after one half of the sentences was put to them as hidden canaries; by the product's own rules."""

    def __init__(self, rows: Sequence[Canary], answers: Sequence[Sequence[Sequence[float]]], first: Sequence[int]) -> None:
        self._rows, self._answers = rows, answers
        self._marks: list[dict[str, Mark]] = []
        for own in answers:
            raw = {n: Mark(list(own[n]), rows[n].right, False, choices_key(rows[n].choices), rows[n].topic) for n in first}
            marks = {}
            for part in range(FOLDS):  # an answer counts as right by leanings that it did not teach
                for n in first[part::FOLDS]:
                    others = [raw[m] for m in first if m not in first[part::FOLDS] and raw[m].choices == raw[n].choices]
                    best = ranked(level(own[n], lean_of(others)))[0]
                    marks[rows[n].id] = msgspec.structs.replace(raw[n], right=best == rows[n].right)
            self._marks.append(marks)
        self._groups, self._rho = groups(["gemma"] * len(answers), [{key: m.right for key, m in own.items()} for own in self._marks])
        self._best = max(range(len(answers)), key=lambda agent: sum(ranked(answers[agent][n])[0] == rows[n].right for n in first))
        self._steps = {
            topic: fit(cross_fitted(self._marks, self._weights(topic, choices), 0.5).values())
            for topic, choices in {row.topic: len(row.choices) for row in rows}.items()
        }

    def _weights(self, topic: str, choices: int) -> list[float]:
        seats = []
        for marks, group in zip(self._marks, self._groups, strict=True):
            tallies = Counter((mark.topic, mark.right) for mark in marks.values())
            own = {name: Evidence(float(tallies[name, True]), float(tallies[name, False])) for name, _ in tallies}
            known = merge_raters(own, [], topic, 0.0)
            seats.append((known.good, known.bad, group))
        return weights(seats, self._rho, choices)

    def answer(self, n: int) -> dict[str, tuple[int, float]]:
        """(answer, certainty) of each method."""
        row, said = self._rows[n], [own[n] for own in self._answers]
        key = choices_key(row.choices)
        levelled = [
            level(one, lean_of(mark for mark in marks.values() if mark.choices == key))
            for one, marks in zip(said, self._marks, strict=True)
        ]
        pairs = zip(levelled, self._weights(row.topic, len(row.choices)), strict=True)
        heard = [(odds, weight) for one, weight in pairs if (odds := log_odds(one)) is not None]
        pooled = pool([odds for odds, _ in heard], [weight for _, weight in heard]) if heard else (0.0,)
        firsts = [ranked(one)[0] for one in said]
        (leader, count), *_ = Counter(firsts).most_common()
        surest = max(range(len(said)), key=lambda agent: max(said[agent]))
        return {
            "ours": (ranked(pooled)[0], confidence(self._steps[row.topic], max(pooled)) or 0.0),
            "best single agent": (firsts[self._best], _chance(said[self._best])),
            "unweighted majority": (leader, count / len(said)),
            "surest agent": (firsts[surest], _chance(said[surest])),
            "best single agent without its leanings": (ranked(levelled[self._best])[0], _chance(levelled[self._best])),
        }


def _chance(logprobs: Sequence[float]) -> float:
    return math.exp(max(logprobs))


def _answers(brain: GemmaBrain, rows: list[Canary], seed: int) -> list[list[Choice]]:
    """By agent, by sentence."""
    rng = random.Random(seed)
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


if __name__ == "__main__":
    found = Report()
    measure_sentences([int(seed) for seed in sys.argv[1:]] or CREWS, lambda _: None, found)
    print(json.dumps({"results": found.results, "bars": [asdict(bar) | {"ok": bar.ok} for bar in found.bars]}, indent=2))
