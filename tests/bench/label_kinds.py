"""What each kind of learner adds, and Gemma: alone, and as a guest of the heads. One data set, one seed, `TEST` rows: Gemma reads 20 to
40 short rows a second at most, three agents a row.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from node.label.calibration import calibrate
from node.label.fewshot import AGENTS, round_of
from node.label.guests import AS_UNSURE, FEWEST, PATIENCE, Wish
from node.label.heads import GraphHead, logs, softmax
from node.label.panel import Panel, Verdict
from node.label.views import Matrix
from node.runtime import SystemRuntime
from tests.bench.label_data import Array, Shelf, Split
from tests.bench.label_guests import Project, joined_all, project
from tests.bench.report import Report

NAME = "banking12"
TEST = 100
STOPS = (48, 96)
FORCED = 0.5
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
        """Probabilities of shape (texts, labels); kept under `MOOT_LABEL_CACHE` for what is asked alike."""
        asked = round_of(wish, labels, self._brain.name, seed=1)
        key = hashlib.sha256(f"{self._brain.fingerprint} {asked}".encode()).hexdigest()[:24]
        folder = os.environ.get("MOOT_LABEL_CACHE")
        kept = Path(folder or ".") / f"gemma-{key}.npy"
        if folder and kept.exists():
            found: Matrix = np.load(kept, allow_pickle=False)
            return found
        began = RUNTIME.monotonic()
        votes = asked.votes(self._brain.choose(asked.asks), len(wish.texts))
        self.seconds += RUNTIME.monotonic() - began
        self.rows += len(wish.texts)
        if folder:
            np.save(kept, votes)
        return votes


def measure(shelf: Shelf, choice: str, tell: Callable[[str], None], report: Report) -> None:
    """Results only: the issue names no bar for this. `choice`: one of `STOPS`, or all."""
    stops = [stop for stop in STOPS if choice in ("", str(stop))]
    train, full = shelf.load(f"{NAME}_train"), shelf.load(f"{NAME}_test")
    test = full.take(np.random.default_rng(0).permutation(len(full.texts))[:TEST])
    tell("loading Gemma")
    gemma, made = Gemma(), project(train, 0)
    bench = made.bench
    made.answer(FEWEST)
    while len(bench.answers) < stops[-1]:
        made.answer(FEWEST)
        while (wish := bench.wish("gemma")) is not None and wish.tried:
            tell(f"kinds: the trial at {len(bench.answers)} answers")
            bench.hear("gemma", wish, gemma.votes(wish, made.labels))
        if len(bench.answers) in stops:
            tell(f"kinds at {len(bench.answers)} answers")
            _stage(len(bench.answers), made, test, gemma, report)
    if gemma.rows:
        report.results["kinds: rows Gemma reads in a second"] = round(gemma.rows / gemma.seconds, 1)


def _stage(answers: int, made: Project, test: Split, gemma: Gemma, report: Report) -> None:
    """Test rows stand for new texts: those that the heads are as unsure of as they were of corrections are what a guest is asked about."""
    verdict, guest = made.bench.look(test.texts, test.vectors), made.bench.guests.known["gemma"]
    assert verdict is not None
    index = {label: at for at, label in enumerate(made.labels)}
    gold = np.array([index.get(str(label), -1) for label in test.gold])
    known = tuple((made.texts[row], index[str(label)]) for row, label in made.bench.answers.items())
    alone = gemma.votes(Wish(tuple(test.texts), (), known, len(made.labels)), made.labels)
    unsure = verdict.shares.max(1) <= np.quantile(guest.sureness[-PATIENCE:], AS_UNSURE)
    rows = {
        "heads (the product without Gemma)": verdict.shares,
        "graph heads only": _only(made.bench.panel, verdict, graph=True),
        "logistic heads only": _only(made.bench.panel, verdict, graph=False),
        f"Gemma few-shot alone, {AGENTS} agents": alone,
        f"the product with Gemma as a guest, weight {guest.weight}": _with(verdict.shares, alone, unsure, guest.weight),
        f"Gemma forced in at weight {FORCED}, on rows that it would be asked about": _with(verdict.shares, alone, unsure, FORCED),
        f"Gemma forced in at weight {FORCED}, on every row": joined_all(verdict.shares, alone, FORCED),
    }
    report.results[f"kinds: {NAME}, {answers} answers, {TEST} rows, accuracy and log-loss"] = {
        who: _score(shares, gold) for who, shares in rows.items()
    }
    report.results[f"kinds: Gemma's trial, {answers} answers"] = {
        "asked": guest.admitted,
        "corrections it read": guest.corrections,
        "wealth": round(guest.odds, 3),
        "reason": guest.reason,
        "rows it would be asked about": int(unsure.sum()),
    }


def _with(shares: Matrix, votes: Matrix, unsure: Array, weight: float) -> Matrix:
    out = shares.copy()
    out[unsure] = joined_all(shares[unsure], votes[unsure], weight) if weight and unsure.any() else shares[unsure]
    return out


def _only(panel: Panel, verdict: Verdict, *, graph: bool) -> Matrix:
    """The pool of one kind of head without the discriminant, calibrated as the whole pool is."""
    kept = [isinstance(head, GraphHead) == graph for head in panel.heads]
    scores = np.mean([logs(vote) for vote, keep in zip(verdict.votes[:-1], kept, strict=True) if keep], axis=0)
    held = panel.held_back
    assert held is not None
    known = len(np.unique(held.labels))
    return softmax(np.asarray(scores, np.float32) / np.float32(calibrate(held.scores, held.labels, known).temperature))


def _score(shares: Matrix, gold: Array) -> list[float]:
    """A row of a label that nobody named yet is wrong whatever is said, and left out of the log-loss."""
    known = gold >= 0
    return [
        round(float((shares.argmax(1) == gold).mean()), 3),
        round(float(-logs(shares[known])[np.arange(int(known.sum())), gold[known]].mean()), 3),
    ]
