"""How sure the pool may be, and how good the labels are: one posterior over the pool's temperature.

Corrections are no fair sample of the pile (they were asked because they are hard), so the share of them that is right when held back
says little about the pile: 48% was shown where 90% were right. But the *probability* that the pool gave to each of them is fair
evidence about the pool's temperature (Guo et al. 2017), whatever rows were asked, because rows are chosen by what the pool says and
not by whether it is right. So:

- the temperature has a prior, a map from answers per label (fitted on development sets, `tests/bench/label_constants.py`);
- each held-back correction multiplies it by the probability of the user's label, at a temperature raised by what heads without those
  corrections know less (`HANDICAP`), and counts `EVIDENCE` of a correction, because neighbours err together;
- the pile's accuracy is the mean over its open rows of the largest probability, averaged over the posterior, and 1 where the user
  answered; its interval is the posterior's, widened by what is left unexplained (`MISFIT`) and by the chance in a count of errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.label.heads import Indices, softmax
from node.label.views import Matrix

TEMPERATURES = np.geomspace(0.15, 1.5, 31)
USUAL = (0.33, 0.45)
"""The usual temperature with `r` answers per label: first + second / r. Few answers tell less than regularised heads believe."""
SPREAD = 0.2
"""Standard deviation of log temperature around the usual one."""
HANDICAP = (1.25, 0.5)
"""By how much the temperature of held-back votes lies above that of the full pool: first + second / r."""
EVIDENCE = 0.15
MISFIT = 0.4
"""Standard deviation of the logit of the pile's accuracy that temperature does not explain."""
COUNTED = 0.25
"""Added to the variance of the number of wrong rows: it is a whole number, the estimate is not."""
ROWS = 2_000
"""Rows of the pile that the accuracy is computed on, evenly spaced."""
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected accuracy over the pile, with its 95% interval, and the corrections it rests on."""

    accuracy: float
    low: float
    high: float
    corrections: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weight of each of `TEMPERATURES`, shape (31,), sums to 1."""

    posterior: NDArray[np.float64]
    corrections: int

    @property
    def temperature(self) -> float:
        return math.exp(float(self.posterior @ np.log(TEMPERATURES)))

    def estimate(self, scores: Matrix, answered: int = 0) -> Estimate:
        """For a pile of which these rows are open, pooled log-probabilities before temperature, shape (rows, labels), and `answered` more
        are right because the user said so.

        How often the open rows are wrong is one thing (temperature, misfit), how many of them then are is another (a count, of standard
        deviation about its root): the interval has both. Near 100% the second is the larger.
        """
        count = len(scores)
        if count == 0:
            return Estimate(1.0, 1.0, 1.0, self.corrections)
        some = scores[:: max(1, count // ROWS)]
        means = np.array([softmax(some / np.float32(value)).max(1).mean() for value in TEMPERATURES], np.float64)
        logits = np.log(means / np.maximum(1 - means, 1e-6))
        centre = float(self.posterior @ logits)
        half = Z95 * math.sqrt(float(self.posterior @ (logits - centre) ** 2) + MISFIT**2)
        wrong, most, least = (count * (1 - _share(logit)) for logit in (centre, centre - half, centre + half))
        counted = Z95**2 * (wrong + COUNTED)
        most = min(float(count), wrong + math.sqrt((most - wrong) ** 2 + counted))
        least = max(0.0, wrong - math.sqrt((wrong - least) ** 2 + counted))
        accuracy, low, high = (1 - errors / (count + answered) for errors in (wrong, most, least))
        return Estimate(accuracy, low, high, self.corrections)


def divisor(scores: Matrix, sure: float, tried: NDArray[np.float64]) -> float:
    """By what to divide log-probabilities, shape (rows, labels), so that the largest probability is `sure` in the mean: between the nearest
    two of `tried`, which rise."""
    reached = np.array([softmax(scores / np.float32(value)).max(1).mean() for value in tried])
    return float(np.exp(np.interp(-sure, -reached, np.log(tried))))


def usual(corrections: int, labels: int) -> Calibration:
    """Before anything was held back."""
    weight = _prior(corrections / labels)
    return Calibration(weight / weight.sum(), 0)


def calibrate(held: Matrix, labels: Indices, count: int) -> Calibration:
    """From pooled log-probabilities of held-back corrections, shape (corrections, labels), and what the user said.

    `count` labels are known. The only correction of a label says nothing: without it nobody could have known the label.
    """
    per_label = len(labels) / count
    handicap = HANDICAP[0] + HANDICAP[1] / per_label
    again = np.bincount(labels, minlength=count)[labels] > 1
    at = np.flatnonzero(again)
    fit = [float(np.log(np.maximum(softmax(held / np.float32(value * handicap))[at, labels[at]], 1e-4)).sum()) for value in TEMPERATURES]
    log_weight = np.log(_prior(per_label)) + EVIDENCE * np.array(fit)
    weight = np.exp(log_weight - log_weight.max())
    return Calibration(weight / weight.sum(), len(labels))


def _prior(per_label: float) -> NDArray[np.float64]:
    away = np.log(TEMPERATURES / (USUAL[0] + USUAL[1] / per_label)) / SPREAD
    return np.asarray(np.exp(-0.5 * away**2), np.float64)


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
