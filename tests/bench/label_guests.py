"""Whether the guests' trial lets in who helps and nobody else: projects on development sets, taught through the product's own `Bench`.

    scripted   the corrections of eight projects as the heads saw them, read by guests that are played: useless ones and useful ones
    gemma      the packaged 270M on two development sets: its trial, and what its vote does to rows of the pile whose truth is known

`MOOT_LABEL=guests` runs both, `guests=scripted` or `guests=gemma=N` (project N of four) one of them. Nothing here touches a reported row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from node.label.bench import Bench
from node.label.book import Batch
from node.label.crew import pack
from node.label.guests import AS_UNSURE, PATIENCE, WEIGHTS, Guest, Tried, Wish, joined
from node.label.heads import logs
from node.label.views import Matrix
from tests.bench.label_data import Array, Shelf, Split
from tests.bench.report import Report

SETS = ("dev_banking12", "dev_clinc15")
SEEDS = (100, 101, 102, 103)
ANSWERS = 96
UNSURE = 32
"""Rows of the pile that Gemma reads to see what its vote would have done."""
PLAYED = 50
"""Seeds a project and kind: 400 of each in all."""
if TYPE_CHECKING:
    from tests.bench.label_kinds import Gemma

Play = Callable[[Tried, int, np.random.Generator], Matrix]


@dataclass(frozen=True, slots=True)
class Project:
    """One project at work, its labels named as they turn up."""

    bench: Bench
    labels: list[str]
    gold: Array
    texts: list[str]

    def answer(self, count: int) -> None:
        """So many more answers from the oracle, one by one."""
        for _ in range(count):
            (question,) = self.bench.questions(1, self.labels)
            label = str(self.gold[question.row])
            if label not in self.labels:
                self.labels.append(label)
            self.bench.answers[question.row] = label
            self.bench.learn(self.labels)
            self.bench.measure(self.labels)


def project(rows: Split, seed: int) -> Project:
    bench = Bench(seed)
    bench.take(Batch(0, rows.texts, pack(rows.vectors)), 1)
    made = Project(bench, [], rows.gold, rows.texts)
    bench.open(made.labels)
    return made


def measure(shelf: Shelf, choice: str, tell: Callable[[str], None], report: Report) -> None:
    """Results only: the issue names no bar for this."""
    if choice in ("", "scripted"):
        _scripted(shelf, tell, report)
    if choice != "scripted":
        from tests.bench.label_kinds import Gemma

        gemma = Gemma()
        for number in [int(choice.partition("=")[2])] if "=" in choice else range(4):
            _gemma(shelf, SETS[number % 2], SEEDS[number // 2], gemma, tell, report)


def _gemma(shelf: Shelf, name: str, seed: int, gemma: Gemma, tell: Callable[[str], None], report: Report) -> None:
    """The trial after every 16 answers, as in the product; at the end what its vote does to rows of the pile like those it would read."""
    rows = shelf.load(f"{name}_train")
    made = project(rows, seed)
    made.answer(16)
    right: list[tuple[bool, bool]] = []
    wealth: list[float] = []
    while len(made.bench.answers) < ANSWERS:
        made.answer(16)
        while (wish := made.bench.wish("gemma")) is not None and wish.tried:
            tell(f"guests: Gemma reads {len(wish.texts)} corrections of {name}, seed {seed}")
            votes = gemma.votes(wish, made.labels)
            made.bench.hear("gemma", wish, votes)
            wealth.append(round(made.bench.guests.known["gemma"].odds, 2))
            right += [
                (int(one.shares.argmax()) == answer, int(vote.argmax()) == answer)
                for one, answer, vote in zip(wish.tried, wish.answers, votes, strict=True)
            ]
    guest = made.bench.guests.known["gemma"]
    shares = made.bench.panel.judge_pile().shares
    sure = shares.max(1)
    index = {label: at for at, label in enumerate(made.labels)}
    left = [row for row in range(len(rows.texts)) if row not in made.bench.answers and rows.gold[row] in index]
    limit = float(np.quantile(guest.sureness[-PATIENCE:], AS_UNSURE))
    read = sorted((row for row in left if sure[row] <= limit), key=lambda row: float(sure[row]))[:UNSURE]
    found = report.results[f"guests: Gemma on {name}, seed {seed}, {ANSWERS} answers"] = {
        "trial": guest.reason,
        "asked": guest.admitted,
        "weight": guest.weight,
        "corrections it read": guest.corrections,
        "wealth after each time it read": wealth,
        "accuracy on these corrections, of the heads and its own": [round(float(share), 3) for share in np.mean(right, axis=0)],
        "rows of the pile that the heads are as unsure of": int((sure[left] <= limit).sum()),
        "of them it read": len(read),
    }
    if not read:
        return
    known = tuple((rows.texts[row], index[str(label)]) for row, label in made.bench.answers.items())
    tell(f"guests: Gemma reads {len(read)} rows of {name}, seed {seed}")
    votes = gemma.votes(Wish(tuple(rows.texts[row] for row in read), tuple(read), known, shares.shape[1]), made.labels)
    gold = np.array([index[rows.gold[row]] for row in read])
    found |= {
        "accuracy of the heads on them": _right(shares[read], gold),
        "its own": _right(votes, gold),
        **{f"together at weight {weight}": _right(joined_all(shares[read], votes, weight), gold) for weight in WEIGHTS},
        **{f"nats it adds a row at weight {weight}": _gain(shares[read], votes, weight, gold) for weight in WEIGHTS},
    }


def joined_all(shares: Matrix, votes: Matrix, weight: float) -> Matrix:
    return np.array([joined(share, vote, weight) for share, vote in zip(shares, votes, strict=True)], np.float32)


def _right(shares: Matrix, gold: Array) -> float:
    return round(float((shares.argmax(1) == gold).mean()), 3)


def _gain(shares: Matrix, votes: Matrix, weight: float, gold: Array) -> float:
    at = np.arange(len(gold))
    return round(float((logs(joined_all(shares, votes, weight)) - logs(shares))[at, gold].mean()), 3)


def _scripted(shelf: Shelf, tell: Callable[[str], None], report: Report) -> None:
    trials: list[list[tuple[Tried, int]]] = []
    for name in SETS:
        for seed in SEEDS:
            tell(f"guests: corrections of {name}, seed {seed}")
            made = project(shelf.load(f"{name}_train"), seed)
            made.answer(ANSWERS)
            trials.append(made.bench.guests.trials())
    for kind, play in PLAYS.items():
        found = [_played(trial, play, np.random.default_rng([at, seed])) for at, trial in enumerate(trials) for seed in range(PLAYED)]
        report.results[f"guests: played, {kind}"] = {
            "projects": len(found),
            "ever asked": round(sum(guest.asked_ever for guest in found) / len(found), 4),
            "asked at the end": round(sum(guest.admitted for guest in found) / len(found), 4),
            "corrections until it was asked": float(np.median([guest.after for guest in found if guest.asked_ever] or [0])),
            "gain, nats a correction": round(float(np.mean([guest.gain for guest in found])), 3),
        }


@dataclass(frozen=True, slots=True)
class Played:
    asked_ever: bool
    admitted: bool
    after: int
    gain: float
    """Nats a correction, at weight 0.5."""


def _played(trial: list[tuple[Tried, int]], play: Play, rng: np.random.Generator) -> Played:
    guest, after = Guest(), 0
    gains = []
    for tried, answer in trial:
        vote = play(tried, answer, rng)
        gains.append(float((logs(joined(tried.shares, vote, 0.5)) - logs(tried.shares))[answer]))
        if not guest.ended:
            guest.bet(tried, vote, answer)
        if guest.admitted and not after:
            after = guest.corrections
    return Played(bool(after), guest.admitted, after, float(np.mean(gains)))


def _says(label: int, labels: int, sure: float) -> Matrix:
    vote = np.full(labels, (1 - sure) / max(1, labels - 1), np.float32)
    vote[label] = sure
    return vote


def _knows(skill: float, sure: float) -> Play:
    def play(tried: Tried, answer: int, rng: np.random.Generator) -> Matrix:
        labels = len(tried.shares)
        return _says(answer if rng.random() < skill else int(rng.integers(labels)), labels, sure)

    return play


def _stubborn(tried: Tried, answer: int, rng: np.random.Generator) -> Matrix:
    """The label named first, whatever it reads."""
    return _says(0, len(tried.shares), 0.9)


def _noise(tried: Tried, answer: int, rng: np.random.Generator) -> Matrix:
    return rng.dirichlet(np.full(len(tried.shares), 0.3)).astype(np.float32)


def _echo(tried: Tried, answer: int, rng: np.random.Generator) -> Matrix:
    """What the heads think, with noise: knows nothing of its own."""
    blurred = logs(tried.shares) + rng.normal(0, 0.7, len(tried.shares)).astype(np.float32)
    return np.asarray(np.exp(blurred) / np.exp(blurred).sum(), np.float32)


PLAYS: dict[str, Play] = {
    "useless: any label, sure": _knows(0.0, 0.95),
    "useless: any label, unsure": _knows(0.0, 0.3),
    "useless: noise": _noise,
    "useless: one label always": _stubborn,
    "useless: what the heads think, blurred": _echo,
    "useful: right 60 in 100": _knows(0.6, 0.8),
    "useful: right 80 in 100": _knows(0.8, 0.9),
    "useful: right 95 in 100": _knows(0.95, 0.97),
}
