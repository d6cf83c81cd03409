"""Guests of the panel: voters that cost too much to be asked about every row, such as Gemma or a remote brain.

A guest reads held-back corrections on which the heads were unsure, and the least sure rows of the pile; its vote on a row is added to
the pool's with a weight that is measured on those corrections. A guest whose weight is nil reads nothing of the pile and is not
measured again until the corrections have grown by half: so a kind that does not help costs little and ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from node.label.calibration import Calibration
from node.label.heads import Indices, logs, softmax
from node.label.panel import HeldBack
from node.label.views import Matrix

FEWEST = 24
"""Corrections before a guest is asked."""
MEASURED, READ = 48, 128
"""At most so many corrections and so many rows of the pile for a guest to read at a time."""
LEAST_SURE = 0.1
"""The share of the pile that a guest reads, the least sure first."""
SURE = 0.9
"""A guest cannot move a held-back correction on which the heads are surer than this, so it is not asked about it."""
WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
AGAIN = 1.5


@dataclass(frozen=True, slots=True)
class Wish:
    """What a guest should read: held-back corrections to measure it, or rows of the pile."""

    texts: tuple[str, ...]
    held: Indices
    """Positions of the texts among the held-back corrections; empty when rows of the pile are read."""
    places: Indices
    """Places of the texts in the pile; empty when corrections are read."""
    known: tuple[tuple[str, int], ...]
    """All corrections, to draw examples from: text and label."""
    labels: int
    """How many labels there were when the corrections were held back: a vote chooses among these, the first ones."""


@dataclass(slots=True)
class Guest:
    """What is known of one kind of voter."""

    weight: float = 0.0
    gain: float = 0.0
    """Nats per held-back unsure correction that its vote adds at this weight."""
    measured_at: int = 0
    read: dict[int, Matrix] = field(default_factory=dict)
    """Place in the pile -> its vote, shape (labels,)."""


class Guests:
    """The guests of one panel, by name. Blocking; one thread at a time."""

    def __init__(self) -> None:
        self.known: dict[str, Guest] = {}

    def wish(self, name: str, texts: Sequence[str], shares: Matrix, held: HeldBack | None, calibration: Calibration) -> Wish | None:
        """What this guest should read now; None when it need not. `texts`, `shares`: the pile, and the heads' opinion on it."""
        guest = self.known.setdefault(name, Guest())
        if held is None or len(held.labels) < FEWEST:
            return None
        unsure, places = np.empty(0, np.int64), np.empty(0, np.int64)
        if len(held.labels) >= AGAIN * guest.measured_at:
            unsure = np.flatnonzero(softmax(held.scores / np.float32(calibration.held_temperature)).max(1) < SURE)[-MEASURED:]
        elif guest.weight and not guest.read:
            open_rows = np.setdiff1d(np.arange(len(shares)), held.rows)
            least = np.argsort(shares[open_rows].max(1), kind="stable")[: min(READ, int(LEAST_SURE * len(shares)))]
            places = open_rows[least]
        at = [*held.rows[unsure].tolist(), *places.tolist()]
        known = tuple((texts[row], int(label)) for row, label in zip(held.rows, held.labels, strict=True))
        return Wish(tuple(texts[place] for place in at), unsure, places, known, held.scores.shape[1]) if at else None

    def hear(self, name: str, wish: Wish, votes: Matrix, held: HeldBack, calibration: Calibration) -> None:
        """Votes of shape (texts of the wish, labels), for the `held` of the wish: weigh the guest, or keep what it said of the pile."""
        guest = self.known.setdefault(name, Guest())
        if len(wish.held):
            pool = held.scores[wish.held] / np.float32(calibration.held_temperature)
            guest.weight, guest.gain = weigh(pool, votes[: len(wish.held)], held.labels[wish.held])
            guest.measured_at, guest.read = len(held.labels), {}
        else:
            guest.read = {int(place): vote for place, vote in zip(wish.places, votes, strict=True)}

    def change(self, shares: Matrix) -> Matrix:
        """The heads' shares of the pile with what the guests say of the rows that they read."""
        out = shares
        for guest in self.known.values():
            fits = [(place, vote) for place, vote in guest.read.items() if len(vote) == shares.shape[1]]
            if guest.weight and fits:
                out = out.copy() if out is shares else out
                at = [place for place, _ in fits]
                out[at] = softmax(logs(out[at]) + np.float32(guest.weight) * logs(np.array([vote for _, vote in fits], np.float32)))
        return out


def weigh(pool: Matrix, votes: Matrix, labels: Indices) -> tuple[float, float]:
    """The weight that predicts held-back corrections best, and its gain in nats a correction; nil unless it is one standard error above
    nothing, for a few corrections always fit some weight."""
    if len(labels) < 8:
        return 0.0, 0.0
    at = np.arange(len(labels))
    base = logs(softmax(pool))[at, labels]
    best = (0.0, 0.0)
    for weight in WEIGHTS[1:]:
        gains = logs(softmax(pool + np.float32(weight) * logs(votes)))[at, labels] - base
        mean, error = float(gains.mean()), float(gains.std() / np.sqrt(len(gains)))
        if mean > best[1] and mean > error:
            best = (weight, mean)
    return best
