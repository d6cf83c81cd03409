"""Whether heads that divide help: the same projects with divisions, without them, and with children that vote untried, on development sets.

Seeds and questions are paired as far as the learners let them be: after the first difference each project asks its own questions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

import numpy as np

from node.label import lineup
from node.label.heads import Head
from node.label.lineup import Gain
from node.label.panel import Panel
from protocol.heads import PATIENCE, mutate, who_dies, who_divides
from tests.bench.label_constants import SEEDS, development_sets
from tests.bench.label_data import STOPS, Shelf, taught
from tests.bench.report import Report

KINDS = ("none", "tried first", "untried")


class Life:
    """One node bears the children of one project, as `node/label/births.py` does."""

    def __init__(self) -> None:
        self._children: list[Head] = []
        self._trials = 0
        self.born = self.seated = 0

    def __call__(self, panel: Panel, seed: int) -> None:
        line = panel.lineup
        if line.child is not None:
            assert line.trial is not None
            self._trials += 1
            if line.trial.low > 0:
                self._children.append(line.child)
                self.seated += 1
                dying = set(who_dies(line.fits, [head.id for head in self._children], 4))
                self._children = [head for head in self._children if head.id not in dying]
                line.propose(self._children)
                line.try_child(None)
            elif self._trials >= PATIENCE:
                line.try_child(None)
        if line.child is None:
            heads = {head.id: head for head in panel.heads}
            parent = who_divides(line.fits, list(heads))
            if parent is not None:
                self.born += 1
                self._trials = 0
                line.try_child(line.build(mutate(heads[parent].genome, random.Random(f"{seed} {self.born}"))))


def measure(shelf: Shelf, choice: str, tell: Callable[[str], None], report: Report) -> None:
    """All three kinds of life, or the one named `choice`; results only."""
    for kind in KINDS:
        if choice in ("", kind):
            report.results[f"divisions: {kind}"] = _score(shelf, kind, tell)


def _score(shelf: Shelf, kind: str, tell: Callable[[str], None]) -> dict[str, Any]:
    found: dict[int, list[tuple[float, float]]] = {stop: [] for stop in STOPS}
    born, seated = 0, 0
    for seed in SEEDS:
        for train, test in development_sets(shelf, seed):
            life = Life()
            with _untried(kind == "untried"):
                for stage in taught(train, seed, measured=life if kind != "none" else lambda panel, seed: None):
                    shares, pile = stage.panel.judge(test.texts, test.vectors).shares, stage.panel.judge_pile().shares
                    right = stage.names[shares.argmax(1)] == test.gold
                    here = stage.names[pile.argmax(1)] == train.gold
                    both = np.concatenate([right, here[np.setdiff1d(np.arange(len(here)), stage.rows)]])
                    at = np.searchsorted(stage.names, test.gold).clip(max=len(stage.names) - 1)
                    given = np.where(stage.names[at] == test.gold, shares[np.arange(len(at)), at], 0.0)
                    found[stage.answers].append((float(both.mean()), float(-np.log(np.maximum(given, 1e-4)).mean())))
            born, seated = born + life.born, seated + life.seated
            tell(f"{kind}, seed {seed}: {[round(found[stop][-1][0], 4) for stop in STOPS]}, {life.seated} of {life.born} children voted")
    return {
        "accuracy": {str(stop): [round(one[0], 4) for one in found[stop]] for stop in STOPS},
        "mean accuracy": {str(stop): round(mean(one[0] for one in found[stop]), 4) for stop in STOPS},
        "mean log-loss": {str(stop): round(mean(one[1] for one in found[stop]), 4) for stop in STOPS},
        "children": born,
        "of them voted": seated,
    }


@contextmanager
def _untried(on: bool) -> Iterator[None]:
    """Every child votes at once and for good."""
    before = lineup._gain
    if on:
        lineup._gain = lambda without, beside, labels, counts: Gain(1.0, 1.0)
    try:
        yield
    finally:
        lineup._gain = before
