"""The data sets of the labelling benchmark, and a project taught by an oracle, stage by stage.

`MOOT_LABEL_CACHE=FOLDER` keeps embeddings between runs; without it every run embeds what it needs.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.brains.embedder import MiniLmEmbedder
from node.label.crew import pack
from node.label.panel import Panel
from node.label.teacher import BATCH, COVERAGE, choose, cover
from node.label.vectors import unpack

DATA = Path(__file__).parents[1] / "data" / "labelling"
REPORTED = ("banking12", "clinc_banking15", "hwu12")
"""The last was not looked at until the constants were fixed."""
DOMAINS = ("auto_and_commute", "credit_cards", "home", "kitchen_and_dining", "meta", "travel", "utility", "work")
"""Of CLINC150, 15 intents each, all but banking (reported) and small talk: development sets too, first questions were chosen on them."""
STRANGERS = {"banking12": "clinc_out_of_scope", "clinc_banking15": "clinc_out_of_scope", "hwu12": "hwu_out_of_scope"}
STOPS = (24, 48, 96, 192)
LIMITS = {24: 0.93, 48: 0.95, 96: 0.965, 192: 0.98}
"""Accuracy that banking12 must reach at each."""
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows, embeddings (as they travel: float16) and gold labels of one part of a data set; an empty label is none of these."""

    texts: list[str]
    gold: Array
    vectors: NDArray[np.float32]

    def take(self, at: Array) -> Split:
        return Split([self.texts[row] for row in at], self.gold[at], self.vectors[at])

    def beside(self, other: Split) -> Split:
        return Split(self.texts + other.texts, np.concatenate([self.gold, other.gold]), np.vstack([self.vectors, other.vectors]))


class Shelf:
    """Loads data sets once."""

    def __init__(self) -> None:
        self._splits: dict[str, Split] = {}
        self._embedder: MiniLmEmbedder | None = None

    @property
    def embedder(self) -> MiniLmEmbedder:
        self._embedder = self._embedder or MiniLmEmbedder()
        return self._embedder

    def load(self, name: str) -> Split:
        if name not in self._splits:
            rows = _rows(name)
            texts = [row["text"] for row in rows]
            self._splits[name] = Split(texts, np.array([row["label"] for row in rows]), self._vectors(name, texts))
        return self._splits[name]

    def strangers(self, name: str) -> Split:
        """Rows that belong to none of the set's labels."""
        found = self.load(STRANGERS.get(name, "clinc_out_of_scope"))
        return Split(found.texts, np.full(len(found.texts), ""), found.vectors)

    def _vectors(self, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
        folder = os.environ.get("MOOT_LABEL_CACHE")
        kept = Path(folder or ".") / f"{name}-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:12]}.npy"
        if folder and kept.exists():
            found: NDArray[np.float32] = np.load(kept, allow_pickle=False)
            return found
        vectors = unpack(pack(self.embedder.embed(list(texts))), len(texts))
        if folder:
            np.save(kept, vectors)
        return vectors


def _rows(name: str) -> list[dict[str, str]]:
    """Of `NAME.csv`, or of a domain: `home_train`."""
    file = DATA / f"{name}.csv"
    if file.exists():
        with file.open(encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    domain, _, split = name.rpartition("_")
    with gzip.open(DATA / "clinc_domains.csv.gz", "rt", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if (row["domain"], row["split"]) == (domain, split)]


@dataclass(frozen=True, slots=True)
class Stage:
    """A project at one number of answers."""

    answers: int
    panel: Panel
    names: Array
    """The labels known, sorted."""
    rows: Array
    """The rows answered with a label."""

    def true(self, train: Split) -> float:
        """Accuracy over the pile as the product labels it: the user's answers stand."""
        right = self.names[self.panel.judge_pile().shares.argmax(1)] == train.gold
        right[self.rows] = True
        return float(right.mean())


def taught(
    train: Split, seed: int, stops: Sequence[int] = STOPS, measured: Callable[[Panel, int], None] = lambda panel, seed: None
) -> Iterator[Stage]:
    """The product's learners, taught with their own questions; the oracle skips rows that are none of these, which counts as an
    answer. `measured(panel, seed)` after every measurement on corrections held back."""
    panel = Panel(train.texts, train.vectors)
    asked = cover(panel.views.meaning, COVERAGE, seed)
    while True:
        rows = np.array([row for row in asked if train.gold[row]])
        names, labels = np.unique(train.gold[rows], return_inverse=True)
        panel.learn(rows, labels, len(names))
        if panel.measure(rows, labels, len(names)):
            measured(panel, seed)
        if len(asked) in stops:
            yield Stage(len(asked), panel, names, rows)
        if len(asked) >= stops[-1]:
            return
        count = min(BATCH, min(stop for stop in stops if stop > len(asked)) - len(asked))
        asked += choose(panel.views.joint, panel.judge_pile().doubted, panel.graph.density, np.array(asked), count)


def calibration_error(sure: Array, hit: Array, bins: int = 10) -> float:
    """Expected calibration error, equal-width bins."""
    at = np.minimum((sure * bins).astype(int), bins - 1)
    return float(sum((at == number).mean() * abs(sure[at == number].mean() - hit[at == number].mean()) for number in set(at.tolist())))


def calibration_floor(sure: Array, bins: int = 10) -> float:
    """What `calibration_error` would be, in the mean, on so many rows if every confidence were exactly right."""
    at = np.minimum((sure * bins).astype(int), bins - 1)
    spread = np.bincount(at, sure * (1 - sure), bins)
    return float(np.sqrt(2 / np.pi * spread).sum() / len(sure))


def calibration_error_debiased(sure: Array, hit: Array, bins: int = 10) -> float:
    """Root of the mean squared calibration error, without what chance adds; bins of as many rows (Kumar, Liang and Ma 2019, section 5)."""
    squares = 0.0
    for part in np.array_split(np.argsort(sure, kind="stable"), bins):
        right = float(hit[part].mean())
        squares += len(part) / len(sure) * ((float(sure[part].mean()) - right) ** 2 - right * (1 - right) / (len(part) - 1))
    return float(max(0.0, squares) ** 0.5)
