"""How the constants of labelling were chosen: one step away from each, on rows that are reported nowhere.

Four development sets: 12 other intents of BANKING77 and another domain of CLINC150 (`dev_*`), and the *train* rows of banking12 and
clinc_banking15 split 70 to 30. Seeds 100 and up, apart from the reported ones. Score: accuracy over the held-out rows and the rows of
the pile that were not asked, mean of the four stages; beside it the calibration error and how far the estimate is off. hwu12 is never
opened here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from node.label import calibration, discriminant, graph, heads, panel, pupils, teacher, views
from tests.bench import label_data
from tests.bench.label_data import Array, Shelf, Split, calibration_error, taught
from tests.bench.report import Report

SEEDS = (100, 101, 102)
STEPS: dict[str, tuple[tuple[Any, str], tuple[Any, ...]]] = {
    "groups": ((label_data, "COVERAGE"), (16, 32)),
    "neighbours": ((graph, "NEIGHBOURS"), (8, 18)),
    "sharpness": ((graph, "SHARPNESS"), (6, 12)),
    "alpha": ((graph, "ALPHA"), (0.8, 0.95)),
    "l2": ((heads.LogisticHead, "L2"), (1e-4, 1e-3)),
    "ngrams": ((views, "NGRAM_WEIGHT"), (0.6, 1.0)),
    "company": ((teacher, "COMPANY"), (0.25, 0.75)),
    "likeness": ((teacher, "LIKENESS"), (1, 4)),
    "trust": ((panel, "TRUST"), (0.0, 2.0)),
    "graph share": ((panel, "GRAPH_SHARE"), ((0.5, 0.0, 0.7), (0.3, 0.7, 0.7))),
    "even": ((panel, "EVEN"), (0.0, 0.7)),
    "doubt": ((graph, "DOUBT"), (0.0, 0.5)),
    "usual temperature": ((calibration, "USUAL"), ((0.33, 0.36), (0.33, 0.52))),
    "handicap": ((calibration, "HANDICAP"), ((1.25, 1.0), (1.25, 0.0))),
    "opinion": ((pupils, "OPINION"), (0.1, 1.0)),
    "sample": ((pupils, "SAMPLE"), (128, 1_024)),
    "share": ((pupils, "SHARE"), (0.5, 1.0)),
    "discriminant": ((discriminant, "WEIGHT"), (0.0, 0.3, 1.0)),
    "evidence": ((calibration, "EVIDENCE"), (0.0, 0.25)),
}
"""Where a constant lives, and the values one step away."""


def measure(shelf: Shelf, choice: str, tell: Callable[[str], None], report: Report) -> None:
    """All constants, the one named `choice`, or with `now` none but those there are; results only."""
    tell("as they are")
    now = _runs(shelf)
    report.results["constants: as they are"] = _means(now)
    for name, ((owner, attribute), values) in STEPS.items():
        for value in values if choice in ("", name) else ():
            tell(f"{name} {value}")
            with _set(owner, attribute, value):
                found = _runs(shelf)
            step = f"constants: {name} {value} instead of {getattr(owner, attribute)}"
            report.results[step] = _means(found) | {"mean accuracy gained, 95%": _gained(now, found)}


@contextmanager
def _set(owner: Any, attribute: str, value: Any) -> Iterator[None]:
    before = getattr(owner, attribute)
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


def development_sets(shelf: Shelf, seed: int) -> Iterator[tuple[Split, Split]]:
    for name in ("dev_banking12", "dev_clinc15"):
        yield shelf.load(f"{name}_train"), shelf.load(f"{name}_test")
    for name in ("banking12_train", "clinc_banking15_train"):
        rows = shelf.load(name)
        order = np.random.default_rng(seed).permutation(len(rows.texts))
        cut = int(0.7 * len(order))
        yield rows.take(order[:cut]), rows.take(order[cut:])


def _runs(shelf: Shelf) -> Array:
    """Accuracy, calibration error and bias of the estimate: shape (sets times seeds, stages, 3)."""
    found: list[list[tuple[float, float, float]]] = []
    for seed in SEEDS:
        for train, test in development_sets(shelf, seed):
            run = []
            for stage in taught(train, seed):
                shares, pile = stage.panel.judge(test.texts, test.vectors).shares, stage.panel.judge_pile().shares
                hit, here = stage.names[shares.argmax(1)] == test.gold, stage.names[pile.argmax(1)] == train.gold
                rest = np.setdiff1d(np.arange(len(here)), stage.rows)
                estimate = stage.panel.estimate()
                assert estimate is not None
                off = estimate.accuracy - stage.true(train)
                run.append((float(np.concatenate([hit, here[rest]]).mean()), calibration_error(shares.max(1), hit), off))
            found.append(run)
    return np.array(found)


def _means(runs: Array) -> dict[str, list[float]]:
    """At each of the four stages, and the accuracy over all."""
    columns = {name: runs[:, :, at].mean(0).round(4).tolist() for at, name in enumerate(("accuracy", "ece", "estimate off"))}
    return columns | {"mean accuracy": [round(float(runs[:, :, 0].mean()), 4)]}


def _gained(before: Array, after: Array) -> list[float]:
    """95% interval of the mean accuracy gained, bootstrapped over runs, paired."""
    gain = (after - before)[:, :, 0].mean(1)
    rng = np.random.default_rng(0)
    draws = gain[rng.integers(0, len(gain), (2_000, len(gain)))].mean(1)
    return [round(float(value), 4) for value in np.quantile(draws, [0.025, 0.975])]
