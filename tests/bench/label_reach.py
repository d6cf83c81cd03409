"""How small the calibration error could be, and whether the estimate's interval holds the truth: on development sets, even and uneven.

The sets of `label_constants.py`, and the same with rows of each label thrown away until the rarest have a sixteenth of the commonest's
(`uneven`). Three pools are compared on the test rows: the product's, the same at the one temperature that gives the true accuracy in
the mean, and at the one with the least error; both look at test labels, which the product cannot. Below them lies chance: the error
that perfect confidences would show on so many rows. Seeds from 500 on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.bench.label_constants import development_sets
from tests.bench.label_data import STOPS, Array, Shelf, Split, Stage, calibration_error, calibration_floor, taught
from tests.bench.report import Report

FIRST_SEED = 500
RAREST = 1 / 16
FACTORS = np.geomspace(0.4, 2.5, 61)
"""Temperatures tried, times the product's."""
COLUMNS = (
    "accuracy", "ece", "ece at the true accuracy", "ece at the best temperature", "ece of a perfect one",
    "estimate minus truth", "estimate off", "interval holds truth", "interval width",
)  # fmt: skip


def measure(shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """Means over seeds and sets, at each number of answers; no bars."""
    found: dict[tuple[str, int], list[list[float]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        tell(f"how small the error could be, seed {seed}")
        for at, (train, test) in enumerate(development_sets(shelf, seed)):
            for kind, (pile, fresh) in {"even": (train, test), "uneven": uneven(train, test, seed * 10 + at)}.items():
                for stage in taught(pile, seed):
                    found.setdefault((kind, stage.answers), []).append(_row(stage, pile, fresh))
    for kind in ("even", "uneven"):
        report.results[f"development sets, {kind}, {len(found[kind, STOPS[0]])} runs"] = {
            str(stop): dict(zip(COLUMNS, np.mean(found[kind, stop], axis=0).round(4).tolist(), strict=True)) for stop in STOPS
        }


def uneven(train: Split, test: Split, seed: int) -> tuple[Split, Split]:
    """Both parts with a share of each label's rows, drawn log-uniformly from `RAREST` to 1."""
    rng = np.random.default_rng(seed)
    names = np.unique(train.gold)
    shares = dict(zip(names, np.exp(rng.uniform(np.log(RAREST), 0, len(names))), strict=True))

    def some(part: Split) -> Iterator[Array]:
        for name, share in shares.items():
            rows = rng.permutation(np.flatnonzero(part.gold == name))
            yield rows[: max(2, round(share * len(rows)))]

    kept, fresh = (np.sort(np.concatenate(list(some(part)))) for part in (train, test))
    return train.take(kept), test.take(fresh)


def _row(stage: Stage, train: Split, test: Split) -> list[float]:
    shares, true, estimate = stage.panel.judge(test.texts, test.vectors).shares, stage.true(train), stage.panel.estimate()
    assert estimate is not None
    hit, sure = stage.names[shares.argmax(1)] == test.gold, shares.max(1)
    powers = [_sharpened(shares, factor) for factor in FACTORS]
    level = min(powers, key=lambda one: abs(float(one.mean() - hit.mean())))
    return [
        float(hit.mean()), calibration_error(sure, hit), calibration_error(level, hit),
        min(calibration_error(one, hit) for one in powers), calibration_floor(level),
        estimate.accuracy - true, abs(estimate.accuracy - true), float(estimate.low <= true <= estimate.high), estimate.high - estimate.low,
    ]  # fmt: skip


def _sharpened(shares: Array, factor: float) -> Array:
    """Largest probabilities at `factor` times the temperature."""
    powers = np.maximum(shares.astype(np.float64), 1e-12) ** (1 / factor)
    return np.asarray((powers / powers.sum(1, keepdims=True)).max(1))
