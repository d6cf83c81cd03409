"""Guests of the panel: voters that cost too much to be asked about every row, such as Gemma or a remote brain.

A guest would read the least sure rows of the pile, where its vote is added to the pool's. First it is tried on held-back corrections.
Corrections are harder than rows of the pile, and a guest that is mediocre everywhere looks good where the heads are lost. So each
correction counts for the rows of the pile on which the pool is about as sure, and the pool's errors as often as it errs there
(`stands_for`); the pool may be tempered anew before the guest is credited with anything; its weight is fitted on other corrections than
those it is judged on; and small weights are preferred. Only a guest whose gain in log-loss is above nothing at the lower end of its
interval is asked. All others read nothing of the pile and are not tried again until the corrections have grown by half: so a kind that
does not help costs little and ends.
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
ABOUT = 0.1
"""A correction stands for rows of the pile whose largest share differs from its own by at most so much."""
ENOUGH = 12.0
"""Corrections that must stand for the rows, counted by their weights (Kish 1965), before a guest is judged."""
WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
SHRINK = 0.05
"""Nats a correction that a weight of 1 must bring to be taken; it grows with the square of the weight."""
TEMPERINGS = (0.6, 0.8, 1.0, 1.25, 1.6, 2.0)
PARTS = 4
"""A weight is fitted on all parts of the corrections but one, and judged on that one."""
LOWER = 1.96
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
    pool: Matrix
    """The heads' opinion on each of `held` at its temperature: log-probabilities up to a constant, shape (held, labels)."""
    answers: Indices
    """What the user said of each of `held`."""
    counts: Matrix
    """How many rows of the pile each of `held` stands for, shape (held,)."""
    labels: int
    """How many labels there were when the corrections were held back: a vote chooses among these, the first ones."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What held-back corrections say of a guest: nats a row that its vote adds, with the ends of the 95% interval."""

    weight: float
    gain: float
    low: float
    high: float
    corrections: int


@dataclass(slots=True)
class Guest:
    """What is known of one kind of voter."""

    trial: Trial | None = None
    tried_at: int = 0
    """Corrections when it was tried."""
    unlike: bool = False
    """Too few corrections stood for the rows of the pile when it was to be tried."""
    read: dict[int, Matrix] = field(default_factory=dict)
    """Place in the pile -> its vote, shape (labels,)."""

    @property
    def weight(self) -> float:
        return 0.0 if self.trial is None else self.trial.weight

    @property
    def reason(self) -> str:
        """Why it is asked or not, for people."""
        found = self.trial
        if found is None:
            what = "too few corrections are about as sure as its rows" if self.unlike else f"it is tried from {FEWEST} corrections on"
            return f"not asked: {what}"
        gain = f"gain {found.gain:.3f} ({found.low:.3f} to {found.high:.3f}) nats a row on {found.corrections} corrections"
        return f"asked about {len(self.read)} rows: {gain}" if found.weight else f"not asked: {gain}"


class Guests:
    """The guests of one panel, by name. Blocking; one thread at a time."""

    def __init__(self) -> None:
        self.known: dict[str, Guest] = {}

    def wish(self, name: str, texts: Sequence[str], shares: Matrix, held: HeldBack | None, calibration: Calibration) -> Wish | None:
        """What this guest should read now; None when it need not. `texts`, `shares`: the pile, and the heads' opinion on it."""
        guest = self.known.setdefault(name, Guest())
        if held is None or len(held.labels) < FEWEST:
            return None
        rows = _least_sure(shares, held.rows)
        asked, places, counts = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        pool = held.scores / np.float32(calibration.held_temperature)
        if len(held.labels) >= AGAIN * guest.tried_at:
            weights = stands_for(softmax(pool), held.labels, shares[rows].max(1))
            asked = np.argsort(-weights, kind="stable")[:MEASURED]
            asked = asked[weights[asked] > 0]
            counts = weights[asked]
            guest.unlike = effective(counts) < ENOUGH
            if guest.unlike:  # what it said before still stands; the next corrections may be more like the rows
                return None
            guest.trial, guest.tried_at, guest.read = None, len(held.labels), {}
        elif guest.weight and not guest.read:
            places = rows
        at = [*held.rows[asked].tolist(), *places.tolist()]
        known = tuple((texts[row], int(label)) for row, label in zip(held.rows, held.labels, strict=True))
        wish = Wish(tuple(texts[place] for place in at), asked, places, known, pool[asked], held.labels[asked], counts, pool.shape[1])
        return wish if at else None

    def hear(self, name: str, wish: Wish, votes: Matrix) -> None:
        """Votes of shape (texts of the wish, labels): weigh the guest, or keep what it said of the pile. Both hold although corrections
        came while it read."""
        guest = self.known.setdefault(name, Guest())
        if len(wish.held):
            guest.trial = weigh(wish.pool, votes, wish.answers, wish.counts)
        else:
            guest.read = {int(place): vote for place, vote in zip(wish.places, votes, strict=True)}

    def give_up(self, name: str) -> None:
        """What it was to read was not read: its trial comes again."""
        guest = self.known.get(name)
        if guest is not None and guest.trial is None:
            guest.tried_at = 0

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


def _least_sure(shares: Matrix, known: Indices) -> Indices:
    """Places of the rows that a guest would read."""
    open_rows = np.setdiff1d(np.arange(len(shares)), known)
    return open_rows[np.argsort(shares[open_rows].max(1), kind="stable")[: min(READ, int(LEAST_SURE * len(shares)))]]


def stands_for(pool: Matrix, labels: Indices, rows: Matrix) -> Matrix:
    """How many rows of the pile each correction stands for, shape (corrections,): `pool` the heads' opinion on it, `rows` how sure they
    are of the rows.

    The only correction of a label counts nowhere: without it the heads cannot know the label, while a guest can read its name. And heads
    that lack a correction err more on it than they will on the rows, so their errors count so much less that their share is what the
    certainty of the rows lets expect.
    """
    counts = matched(pool.max(1), rows) * (np.bincount(labels)[labels] > 1)
    right = pool.argmax(1) == labels
    expected, seen = float(rows.mean()), float((counts * right).sum() / max(float(counts.sum()), 1e-9))
    if 0 < seen < expected:
        counts = counts * np.where(right, 1.0, (1 - expected) * seen / (expected * (1 - seen)))
    return np.asarray(counts if seen > 0 else np.zeros_like(counts), np.float32)


def matched(corrections: Matrix, rows: Matrix) -> Matrix:
    """How many of the rows each correction stands for, by how sure the pool is of each (shapes (corrections,) and (rows,)): a row is
    divided among the corrections that are about as sure; one that has none counts nowhere."""
    near = (np.abs(corrections[:, None] - rows[None, :]) <= ABOUT).astype(np.float32)
    return np.asarray((near / np.maximum(near.sum(0), 1)).sum(1), np.float32)


def effective(counts: Matrix) -> float:
    """How many equally weighted corrections these are worth."""
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def weigh(pool: Matrix, votes: Matrix, labels: Indices, counts: Matrix) -> Trial:
    """The guest's weight and gain over the pool (`pool`: log-probabilities up to a constant); the weight is nil unless the lower end
    of the gain is above nothing."""
    at, part = np.arange(len(labels)), np.arange(len(labels)) % PARTS
    said = logs(votes)
    loss = {
        (heat, weight): -logs(softmax(pool / np.float32(heat) + np.float32(weight) * said))[at, labels]
        for heat in TEMPERINGS
        for weight in WEIGHTS
    }

    def best(seen: Matrix, weights: Sequence[float]) -> tuple[float, float]:
        return min(
            ((heat, weight) for heat in TEMPERINGS for weight in weights),
            key=lambda key: float(np.average(loss[key], weights=seen)) + SHRINK * key[1] ** 2,
        )

    gains = np.zeros(len(labels))
    for number in range(PARTS):
        here = part == number
        seen = np.asarray(np.where(here, 0, counts), np.float32)
        gains[here] = (loss[best(seen, WEIGHTS[:1])] - loss[best(seen, WEIGHTS)])[here]
    mean = float(np.average(gains, weights=counts))
    spread = float(np.average((gains - mean) ** 2, weights=counts))
    half = LOWER * float(np.sqrt(spread / max(1.0, effective(counts) - 1)))
    weight = best(counts, WEIGHTS)[1] if mean - half > 0 else 0.0
    return Trial(weight, mean, mean - half, mean + half, len(labels))
