"""One project's learners at work: what is known in memory of a pile that has been read. Blocking; one thread at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from node.label.book import Batch
from node.label.calibration import Estimate
from node.label.guests import Guests, Wish
from node.label.invitation import Said
from node.label.lineup import Lineup
from node.label.panel import Held, Panel, Verdict
from node.label.teacher import BATCH, COVERAGE, choose, cover, covered
from node.label.vectors import unpack
from node.label.views import Matrix
from protocol.heads import HeadGenome
from protocol.labelling import GuestInfo, HeldBack, QuestionRow, RowLabel, left_words, spent_words

SURE = 0.5
"""Below this confidence a row is left unlabelled."""
SETTLED = 0.002
"""When the last answers moved fewer rows than this share, more would change little."""
FEWEST = 3
"""Answers and examples before anything is labelled."""


class Bench:
    """`take` batches, `open`, then ask, learn and judge."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._texts: list[str] = []
        self._vectors: list[Matrix] = []
        self.rows: list[int] = []
        """The number of each row in the pool."""
        self.place: dict[int, int] = {}
        """Where a row stands in the pool."""
        self.answers: dict[int, str | None] = {}
        self._panel: Panel | None = None
        self._verdict: Verdict | None = None
        self._heads: Matrix | None = None
        """Shares of the pool without what guests say."""
        self._cover: list[int] = []
        self._named: frozenset[str] = frozenset()
        """Labels that were known when the pile was opened."""
        self._ask: list[int] = []
        self._best: np.ndarray | None = None
        self._moved: list[float] = []
        self._limit = 1.0
        self._estimate: Estimate | None = None
        self.guests = Guests()

    def take(self, batch: Batch, step: int) -> None:
        """Rows of a batch that belong to the sample: every `step`-th, and all examples."""
        assert batch.vectors is not None
        vectors = unpack(batch.vectors, len(batch.texts))
        for at, text in enumerate(batch.texts):
            row = batch.start + at
            if row < 0 or row % step == 0:
                self.place[row] = len(self.rows)
                self.rows.append(row)
                self._texts.append(text)
                self._vectors.append(vectors[at])

    def open(self, labels: Sequence[str], genomes: Sequence[HeadGenome] = ()) -> None:
        """Look at the pile, then learn what is known. `genomes`: of the project's heads; none: the founders of this version."""
        self._panel = Panel(self._texts, np.array(self._vectors, np.float32), genomes)
        self._vectors.clear()
        self._named = frozenset(labels)
        self._cover = cover(self._panel.views.meaning, max(COVERAGE, len(labels)), self._seed)
        self.learn(labels)
        self.measure(labels)

    @property
    def panel(self) -> Panel:
        assert self._panel is not None
        return self._panel

    @property
    def lineup(self) -> Lineup:
        """The heads."""
        return self.panel.lineup

    @property
    def due(self) -> bool:
        """Whether `measure` would do something."""
        known = [row for row, label in self.answers.items() if label is not None and row in self.place]
        return self._verdict is not None and self.panel.due(len(known))

    def learn(self, labels: Sequence[str]) -> None:
        """Teach all answers and judge the pool again."""
        rows, targets = self._known(labels)
        self.guests.note(rows, targets, None if self._verdict is None else self._heads)
        if len(rows) < FEWEST or len(set(targets.tolist())) < 2:
            self._verdict = None
            return
        self.panel.learn(rows, targets, len(labels))
        self._judge_pool()
        best = self._current().shares.argmax(1)
        if self._best is not None:
            self._moved = [*self._moved[-9:], float((best != self._best).mean())]
        self._best = best

    def measure(self, labels: Sequence[str]) -> None:
        """Weights, calibration and the estimate from corrections held back, when due."""
        if self.due:
            self.weigh(self.hold_back(labels))

    def hold_back(self, labels: Sequence[str]) -> Held:
        """The long part of `measure`: changes nothing, so a thread of its own may do it while answers are learnt."""
        return self.panel.hold_back(*self._known(labels), len(labels))

    def weigh(self, held: Held) -> None:
        """The short part, where the learners live."""
        self.panel.take(held)
        if self._verdict is not None:
            self._judge_pool()

    def questions(self, count: int, labels: Sequence[str]) -> list[QuestionRow]:
        """The next rows to ask about: coverage first, then what teaches most."""
        known = {self.place[row] for row in self.answers if row in self.place}
        self._ask = [place for place in self._ask if place not in known]
        if len(self._ask) < count:
            cover_left = [place for place in self._cover if place not in known and self.rows[place] >= 0]
            told = [label for label in self.answers.values() if label is not None]
            done = self._verdict is not None and (not cover_left or covered(self._named, told))
            self._ask = self._choose(known, count) if done else cover_left[:count]
        return [self._question(place, labels) for place in self._ask[:count]]

    def judge_batch(self, batch: Batch, labels: Sequence[str]) -> list[RowLabel]:
        """Every row of a batch, the user's own answers as they are."""
        assert batch.vectors is not None
        rows = range(batch.start, batch.start + len(batch.texts))
        if all(row in self.place for row in rows) and self._verdict is not None:
            verdict: Verdict | None = _take(self._verdict, np.array([self.place[row] for row in rows]))
        else:
            verdict = self.panel.judge(batch.texts, unpack(batch.vectors, len(batch.texts))) if self._verdict is not None else None
        judged = self._labels(verdict, labels, len(batch.texts))
        return [_answered(found, self.answers.get(row)) for row, found in zip(rows, judged, strict=True)]

    def judge(self, texts: Sequence[str], vectors: Matrix, labels: Sequence[str]) -> list[RowLabel]:
        """New rows, by the heads alone."""
        return self._labels(self.look(texts, vectors), labels, len(texts))

    def judge_with(self, verdict: Verdict, said: Mapping[str, Said], labels: Sequence[str]) -> list[RowLabel]:
        """New rows, from what the heads think of them (`look`) and what guests said."""
        joined = self.guests.add(verdict.shares, {name: one.votes for name, one in said.items()})
        rows = self._labels(replace(verdict, shares=joined), labels, len(joined))
        for name, one in said.items():
            for row, vote in one.votes.items():
                rows[row] = msgspec.structs.replace(rows[row], votes=f"{rows[row].votes}; {name}={labels[int(vote.argmax())]}")
            for row in one.late:
                rows[row] = msgspec.structs.replace(rows[row], late=[*rows[row].late, name])
        return rows

    def look(self, texts: Sequence[str], vectors: Matrix) -> Verdict | None:
        """What the heads think of new rows; None while they know too little."""
        return self.panel.judge(texts, vectors) if self._verdict is not None else None

    def wishes(self, names: Sequence[str], texts: Sequence[str], verdict: Verdict) -> dict[str, tuple[Wish, list[int]]]:
        """What each guest should say of new rows, and of which; those that need not be asked are left out."""
        found = {name: self.guests.wish_new(name, self._texts, texts, verdict.shares) for name in names}
        return {name: wish for name, wish in found.items() if wish is not None}

    def wish(self, name: str) -> Wish | None:
        """What the guest of this name (a brain's) should read now; None when it need not be asked."""
        return None if self._verdict is None or self._heads is None else self.guests.wish(name, self._texts, self._heads)

    def guest_infos(self) -> list[GuestInfo]:
        """What is known of each guest, for people."""
        return [GuestInfo(name, guest.weight, guest.reason) for name, guest in self.guests.known.items()]

    def hear(self, name: str, wish: Wish, votes: Matrix) -> None:
        """The guest's votes on its wish, shape (texts, labels)."""
        self.guests.hear(name, wish, votes)
        if self._verdict is not None:
            self._judge_pool()

    def heads(self) -> dict[str, float]:
        """Weight of each learner; of a guest that is asked, beside their sum of 1, what its vote adds on the rows that it reads."""
        weights = dict(zip(self.panel.names, self.panel.weights, strict=False))  # a measurement may be changing both at this moment
        guests = {name: guest.weight for name, guest in self.guests.known.items() if guest.weight}
        return {name: round(float(weight), 3) for name, weight in (weights | guests).items()}

    def expected(self) -> float | None:
        """Mean confidence over the pool; None while calibration is not measured."""
        return None if self._verdict is None or self._estimate is None else round(float(self._verdict.shares.max(1).mean()), 4)

    def held_back(self) -> HeldBack | None:
        """What corrections held back say of the accuracy over the whole pool, with its interval."""
        found = self._estimate
        return None if found is None else HeldBack(found.accuracy, found.low, found.high, found.corrections)

    def advice(self, corrections: int, budget: int) -> tuple[bool, str]:
        """Whether to stop, and one sentence."""
        if corrections >= budget:
            return True, spent_words(budget)
        if corrections >= COVERAGE and len(self._moved) == 10 and max(self._moved) < SETTLED:
            return True, "The last ten answers changed almost no row: you may stop."
        return False, left_words(budget - corrections)

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _known(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        index = {label: number for number, label in enumerate(labels)}
        known = [(self.place[row], index[label]) for row, label in self.answers.items() if label in index and row in self.place]
        found = np.array(known, np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _judge_pool(self) -> None:
        heads = self.panel.judge_pile()
        self._heads = heads.shares
        self._verdict = replace(heads, shares=self.guests.change(heads.shares))
        self._limit = self.panel.stranger(self._verdict.strangeness)
        self._estimate = self.panel.estimate()

    def _current(self) -> Verdict:
        assert self._verdict is not None
        return self._verdict

    def _choose(self, known: set[int], count: int) -> list[int]:
        never = known | {place for place, row in enumerate(self.rows) if row < 0}
        at = np.array(sorted(never), np.int64)
        return choose(self.panel.views.joint, self._current().doubted, self.panel.graph.density, at, max(count, BATCH))

    def _question(self, place: int, labels: Sequence[str]) -> QuestionRow:
        if self._verdict is None:
            return QuestionRow(self.rows[place], self._texts[place], None, None)
        share = self._verdict.shares[place]
        return QuestionRow(self.rows[place], self._texts[place], labels[int(share.argmax())], round(float(share.max()), 4))

    def _labels(self, verdict: Verdict | None, labels: Sequence[str], count: int) -> list[RowLabel]:
        if verdict is None:
            return [RowLabel("", 0.0, 0.0, "unsure", "")] * count
        best, sure = verdict.shares.argmax(1), verdict.shares.max(1)
        choices = np.array([vote.argmax(1) for vote in verdict.votes])
        agreement = (self.panel.weights[:, None] * (choices == best)).sum(0)
        out = []
        for row in range(count):
            why = "none of these" if verdict.strangeness[row] > self._limit else "unsure" if sure[row] < SURE else ""
            votes = "; ".join(f"{name}={labels[int(choice)]}" for name, choice in zip(self.panel.names, choices[:, row], strict=True))
            label = "" if why else labels[int(best[row])]
            confidence, agreed = round(float(sure[row]), 4), round(float(agreement[row]), 4)
            out.append(RowLabel(label, confidence, agreed, why, votes, labels[int(best[row])], self._estimate is not None))
        return out


def _take(verdict: Verdict, at: np.ndarray) -> Verdict:
    return Verdict(verdict.shares[at], tuple(vote[at] for vote in verdict.votes), verdict.strangeness[at], verdict.doubted[at])


def _answered(found: RowLabel, label: str | None) -> RowLabel:
    """The user's word stands."""
    return found if label is None else RowLabel(label, 1.0, found.agreement, "", found.votes, label)
