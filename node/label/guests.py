"""Guests of the panel: voters that cost too much to be asked about every row, such as Gemma or a remote brain.

A guest reads only rows that the heads are unsure of, and only while it has shown that this helps. It is tried on the rows that the user
answers anyway: the heads' opinion on each is kept from before the answer (`note`), and the guest votes on it having seen earlier
corrections only. Its gain is how many nats surer of the user's answer its vote makes the pool. So nothing is held back, no head is judged
on less than it knows, and the rows are those that the heads were unsure of at that time.

The test is a bet (Waudby-Smith and Ramdas 2024): the guest starts with a wealth of 1 and stakes shares of it on each gain being
positive, evenly over a few stakes and weights of its vote. While it gains nothing in the mean on the next correction at any of these
weights, whatever came before, no way of betting makes money, and by Ville's inequality its wealth ever reaches `ADMIT` with a probability
of at most 1 / ADMIT, however often one looks. A guest is asked from `ADMIT` on, until its wealth falls below 1. Votes are held within
`LIMIT` nats, here and where they count, so that no gain or loss is larger; wealth above `MOST` is thrown away, so that a guest that stops
helping is soon seen. Whoever is not asked after `PATIENCE` corrections, or is nearly ruined before, reads nothing more of this project.

What this does not show: that gains stay what they were. A node that restarts tries guests anew on the corrections to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from node.label.heads import Indices, logs, softmax
from node.label.views import Matrix

FEWEST = 16
"""Corrections before a guest is tried: examples to show it, and heads that have been calibrated."""
AT_A_TIME = 16
"""Corrections of a trial, and rows of the pile, that a guest reads at one time; all see the same examples."""
READ = 128
"""Rows of the pile that a guest's votes count on, at most."""
AS_UNSURE = 0.75
"""It reads rows that the heads are no surer of than they were of this share of the corrections that it was tried on."""
LIMIT = 3.0
"""A vote sets no label more than so many nats below the one that it prefers."""
WEIGHTS = (0.25, 0.5, 1.0)
"""What a vote may count beside the pool."""
STAKES = (0.25, 0.5, 0.9)
"""Shares of the wealth that are staked on a gain of `LIMIT` nats."""
ADMIT = 20.0
"""Wealth at which a guest is asked: a useless one ever gets there in at most one project of so many."""
RUIN = 0.1
MOST = 100.0
PATIENCE = 64


@dataclass(frozen=True, slots=True)
class Tried:
    """A correction as the heads saw it before it was made."""

    place: int
    shares: Matrix
    """Their opinion, shape (labels,)."""
    known: int
    """How many rows were answered before; their answers may be shown to a guest that reads this one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a guest should read."""

    texts: tuple[str, ...]
    places: tuple[int, ...]
    """Of the texts, in the pile; empty for new texts."""
    known: tuple[tuple[str, int], ...]
    """Corrections to draw examples from: text and label."""
    labels: int
    """A vote chooses among so many labels, the first ones."""
    tried: tuple[Tried, ...] = ()
    """One for each text where corrections are read."""
    answers: tuple[int, ...] = ()
    """What the user said of each of `tried`."""


@dataclass(slots=True)
class Guest:
    """What is known of one voter."""

    wealth: NDArray[np.float64] = field(default_factory=lambda: np.full((len(WEIGHTS), len(STAKES)), 1 / (len(WEIGHTS) * len(STAKES))))
    """Of each weight and stake."""
    gains: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(WEIGHTS)))
    """Nats gained so far, at each weight."""
    corrections: int = 0
    """Those it was tried on."""
    heard: int = 0
    """Notes that it has read or that were passed over."""
    admitted: bool = False
    sureness: list[float] = field(default_factory=list)
    """How sure the heads were of each correction that it was tried on."""
    read: dict[int, Matrix] = field(default_factory=dict)
    """Place in the pile -> its vote, shape (labels,)."""

    @property
    def odds(self) -> float:
        """The whole wealth."""
        return float(self.wealth.sum())

    @property
    def ended(self) -> bool:
        """Whether it reads nothing more."""
        return not self.admitted and (self.corrections >= PATIENCE or self.odds < RUIN)

    @property
    def weight(self) -> float:
        """What its vote counts: the weight that has won most."""
        return WEIGHTS[self._best] if self.admitted else 0.0

    @property
    def limit(self) -> float:
        """How sure of a row the heads may be for this guest to be asked about it."""
        return float(np.quantile(self.sureness[-PATIENCE:], AS_UNSURE)) if self.admitted else 0.0

    @property
    def reason(self) -> str:
        """Why it is asked or not, for people."""
        if not self.corrections:
            return f"not asked: it is tried on corrections from the {FEWEST + 1}th on"
        gain = f"gain {self.gains[self._best] / self.corrections:+.3f} nats a row on {self.corrections} corrections"
        shown = f"{gain}, odds {self.odds:.3g} to 1 (asked from {ADMIT:.0f} to 1 on)"
        if self.admitted:
            return f"asked about {len(self.read)} rows: {shown}"
        return f"not asked, and not tried any more: {shown}" if self.ended else f"on trial: {shown}"

    @property
    def _best(self) -> int:
        return int(self.wealth.sum(1).argmax())

    def bet(self, tried: Tried, vote: Matrix, answer: int) -> None:
        """One correction: its wealth moves with what its vote would have gained."""
        before = logs(tried.shares)[answer]
        gains = np.array([logs(joined(tried.shares, vote, weight))[answer] - before for weight in WEIGHTS])
        self.wealth *= 1 + gains[:, None] / LIMIT * np.array(STAKES)
        self.wealth *= min(1.0, MOST / self.odds)
        self.gains += gains
        self.corrections += 1
        self.sureness.append(float(tried.shares.max()))
        self.admitted = self.odds >= (1.0 if self.admitted else ADMIT)


class Guests:
    """The guests of one panel, by name, and the corrections that they are tried on. Blocking; one thread at a time."""

    def __init__(self) -> None:
        self.known: dict[str, Guest] = {}
        self._notes: list[Tried] = []
        self._order: dict[int, int] = {}
        """Place -> how many rows were answered before it, those answered at once having the same number."""
        self._labels: dict[int, int] = {}
        """Place -> the answer that stands."""

    def note(self, rows: Indices, labels: Indices, shares: Matrix | None) -> None:
        """All answers that stand, before the heads learn the new ones; `shares`: the heads' opinion on the pile until now. A row whose
        label nobody knew before is no correction that could be voted on."""
        self._labels = dict(zip(rows.tolist(), labels.tolist(), strict=True))
        known = len(self._order)
        for place, label in self._labels.items():
            if place not in self._order:
                self._order[place] = known
                if shares is not None and known >= FEWEST and label < shares.shape[1]:
                    self._notes.append(Tried(place, shares[place].copy(), known))

    def wish(self, name: str, texts: Sequence[str], shares: Matrix) -> Wish | None:
        """What this guest should read now; None when it need not. `texts`, `shares`: the pile, and the heads' opinion on it."""
        guest = self.known.setdefault(name, Guest())
        if guest.ended:
            return None
        if tried := self._next(guest):
            read = tuple(texts[one.place] for one in tried)
            known = self._examples(texts, min(one.known for one in tried))
            answers = tuple(self._labels[one.place] for one in tried)
            return Wish(read, tuple(one.place for one in tried), known, len(tried[0].shares), tried, answers)
        labels = shares.shape[1]
        places = [place for place in self._unsure(guest, shares) if len(guest.read.get(place, ())) != labels][:AT_A_TIME]
        known = self._examples(texts, len(self._order))
        return Wish(tuple(texts[place] for place in places), tuple(places), known, labels) if places else None

    def wish_new(self, name: str, pile: Sequence[str], texts: Sequence[str], shares: Matrix) -> tuple[Wish, list[int]] | None:
        """What this guest should say of new texts, and which of them: those that the heads are unsure of, the least sure first."""
        guest = self.known.get(name)
        if guest is None or not guest.admitted:
            return None
        sure = shares.max(1)
        at = [int(row) for row in np.argsort(sure, kind="stable") if sure[row] <= guest.limit]
        known = self._examples(pile, len(self._order))
        return (Wish(tuple(texts[row] for row in at), (), known, shares.shape[1]), at) if at else None

    def hear(self, name: str, wish: Wish, votes: Matrix) -> None:
        """Votes of shape (texts of the wish, labels): the guest's bets are settled, or what it said of the pile is kept. Both hold although
        corrections came while it read."""
        guest = self.known.setdefault(name, Guest())
        for tried, answer, vote in zip(wish.tried, wish.answers, votes, strict=False):
            guest.bet(tried, vote, answer)
        guest.heard += len(wish.tried)
        if not wish.tried:
            guest.read |= dict(zip(wish.places, votes, strict=True))

    def change(self, shares: Matrix) -> Matrix:
        """The heads' shares of the pile with what the guests say of the rows that the heads are unsure of."""
        out = shares.copy()
        for guest in self.known.values():
            for place in self._unsure(guest, shares) if guest.admitted else ():
                vote = guest.read.get(place)
                if vote is not None and len(vote) == shares.shape[1]:
                    out[place] = joined(out[place], vote, guest.weight)
        return out

    def add(self, shares: Matrix, votes: Mapping[str, Mapping[int, Matrix]]) -> Matrix:
        """Shares of new texts with what guests said of some of them: name -> row -> vote."""
        out = shares.copy()
        for name, said in votes.items():
            for row, vote in said.items():
                out[row] = joined(out[row], vote, self.known[name].weight)
        return out

    def trials(self) -> list[tuple[Tried, int]]:
        """Every correction that a guest may be tried on, with its answer."""
        return [(one, self._labels[one.place]) for one in self._notes if self._labels.get(one.place, len(one.shares)) < len(one.shares)]

    def _next(self, guest: Guest) -> tuple[Tried, ...]:
        """The corrections that it should be tried on next, of equally many labels; those taken back meanwhile are passed over."""
        found: list[Tried] = []
        while guest.heard + len(found) < len(self._notes) and len(found) < AT_A_TIME:
            one = self._notes[guest.heard + len(found)]
            if self._labels.get(one.place, len(one.shares)) >= len(one.shares):
                if found:
                    break
                guest.heard += 1
            elif found and len(found[0].shares) != len(one.shares):
                break
            else:
                found.append(one)
        return tuple(found)

    def _unsure(self, guest: Guest, shares: Matrix) -> list[int]:
        """Places that its votes count on, the least sure first."""
        sure = shares.max(1)
        least = np.argsort(sure, kind="stable")[: READ + len(self._labels)].tolist()
        return [place for place in least if sure[place] <= guest.limit and place not in self._labels][:READ]

    def _examples(self, texts: Sequence[str], before: int) -> tuple[tuple[str, int], ...]:
        """The answers to the first rows answered."""
        return tuple((texts[place], label) for place, label in self._labels.items() if self._order[place] < before)


def joined(shares: Matrix, vote: Matrix, weight: float) -> Matrix:
    """The pool's opinion with a vote added, shape (labels,); both are probabilities."""
    said = logs(vote)
    held = np.maximum(said - said.max(), -LIMIT)
    return softmax(np.asarray(logs(shares) + np.float32(weight) * held, np.float32))
