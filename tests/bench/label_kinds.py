"""What each kind of learner adds, and Gemma: alone, and as a guest of the heads. One data set, one seed, `TEST` rows: Gemma reads 20 to
40 short rows a second at most, three agents a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from node.label.calibration import calibrate
from node.label.fewshot import AGENTS, round_of
from node.label.guests import LEAST_SURE, Guests, Wish, effective
from node.label.heads import GraphHead, logs, softmax
from node.label.views import Matrix
from node.runtime import SystemRuntime
from tests.bench.label_data import Array, Shelf, Stage, taught
from tests.bench.report import Report

NAME = "banking12"
TEST = 100
STOPS = (48, 96)
RUNTIME = SystemRuntime()


class Gemma:
    """The packaged 270M, and how long it takes."""

    def __init__(self) -> None:
        from node.brains.gemma.brain import GemmaBrain

        self._brain = GemmaBrain(RUNTIME)
        self._brain.load(lambda what, fraction: None)
        self.rows = 0
        self.seconds = 0.0

    def votes(self, wish: Wish, labels: Sequence[str]) -> Matrix:
        asked = round_of(wish, labels, self._brain.name, seed=1)
        began = RUNTIME.monotonic()
        votes = asked.votes(self._brain.choose(asked.asks), len(wish.texts))
        self.seconds += RUNTIME.monotonic() - began
        self.rows += len(wish.texts)
        return votes


def measure(shelf: Shelf, tell: Callable[[str], None], report: Report) -> None:
    """Results only: the issue names no bar for this."""
    train, full = shelf.load(f"{NAME}_train"), shelf.load(f"{NAME}_test")
    test = full.take(np.random.default_rng(0).permutation(len(full.texts))[:TEST])
    tell("loading Gemma")
    gemma = Gemma()
    for stage in taught(train, 0, STOPS):
        tell(f"kinds at {stage.answers} answers")
        held, labels = stage.panel.held_back, stage.names.tolist()
        assert held is not None
        verdict = stage.panel.judge(test.texts, test.vectors)
        gold = np.searchsorted(stage.names, test.gold)
        guests = Guests()
        wish = guests.wish("gemma", train.texts, stage.panel.judge_pile().shares, held, stage.panel.calibration)
        if wish is not None:
            guests.hear("gemma", wish, gemma.votes(wish, labels))
        known = tuple((train.texts[row], int(label)) for row, label in zip(held.rows, held.labels, strict=True))
        none, nobody = np.empty(0, np.int64), np.empty(0, np.float32)
        alone = gemma.votes(Wish(tuple(test.texts), none, np.arange(TEST), known, nobody, none, nobody, len(labels)), labels)
        weight = guests.known["gemma"].weight
        least = verdict.shares.max(1).argsort()[: int(LEAST_SURE * TEST)]
        forced = weight or 0.5
        joined, pressed = verdict.shares.copy(), verdict.shares.copy()
        joined[least] = softmax(logs(joined[least]) + np.float32(weight) * logs(alone[least])) if weight else joined[least]
        pressed[least] = softmax(logs(pressed[least]) + np.float32(forced) * logs(alone[least]))
        rows = {
            "heads (the product without Gemma)": verdict.shares,
            "graph heads only": _only(stage, verdict.votes, graph=True),
            "logistic heads only": _only(stage, verdict.votes, graph=False),
            f"Gemma few-shot alone, {AGENTS} agents": alone,
            f"heads and Gemma on the least sure tenth, weight {weight} (the product)": joined,
            f"heads and Gemma on the least sure tenth, weight {forced} whatever its trial said": pressed,
        }
        report.results[f"kinds: {NAME}, {stage.answers} answers, {TEST} rows, accuracy and log-loss"] = {
            who: _score(shares, gold) for who, shares in rows.items()
        }
        report.results[f"kinds: Gemma's weight after {stage.answers} answers"] = {
            "weight": weight, "reason": guests.known["gemma"].reason,
            "held-back corrections read": 0 if wish is None else len(wish.held),
            "worth so many equal ones": 0 if wish is None else round(effective(wish.counts), 1),
        }  # fmt: skip
    report.results["kinds: rows Gemma reads in a second"] = round(gemma.rows / gemma.seconds, 1)


def _only(stage: Stage, votes: Sequence[Matrix], *, graph: bool) -> Matrix:
    """The pool of one kind of head, calibrated as the whole pool is."""
    kept = [isinstance(head, GraphHead) == graph for head in stage.panel.heads]
    scores = np.mean([logs(vote) for vote, keep in zip(votes, kept, strict=True) if keep], axis=0)
    held = stage.panel.held_back
    assert held is not None
    return softmax(np.asarray(scores, np.float32) / np.float32(calibrate(held.scores, held.labels, len(stage.names)).temperature))


def _score(shares: Matrix, gold: Array) -> list[float]:
    return [
        round(float((shares.argmax(1) == gold).mean()), 3),
        round(float(-logs(shares)[np.arange(len(gold)), gold].mean()), 3),
    ]
