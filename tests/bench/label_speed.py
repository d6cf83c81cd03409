"""One node that lies, and the time of it all. Learners run in this process; three real daemons are in `label_swarm.py`.

The time of 10,000 rows is extrapolated from `SPEED_ROWS` rows embedded plus the measured opening of 10,000; HTTP, SQLite and links are
not in it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from statistics import mean, median
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from node.brains.embedders import Embedders
from node.label.bench import Bench
from node.label.book import Batch
from node.label.crew import Crew, Pile, Reader, pack
from node.label.vectors import unpack
from node.links.exchange import Exchange
from node.runtime import SystemRuntime
from protocol.errors import Unreachable
from protocol.identity import NodeId
from protocol.messages import ReadRows, RowVectors
from tests.bench.label_data import Shelf, Split, taught
from tests.bench.report import Bar, Report

AT = 48
"""Answers at which a liar's harm is judged."""
SPEED_ROWS = 1_000
BIG = 10_000
RUNTIME = SystemRuntime()


class _Table(Reader):
    """Answers from embeddings computed before: what is measured is the protocol, not the model."""

    def __init__(self, split: Split) -> None:
        table = dict(zip(split.texts, split.vectors, strict=True))

        class Known:
            name = "minilm-l6-v2"

            def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
                return np.array([table[text] for text in texts], np.float32)

        super().__init__(RUNTIME, Embedders({Known.name: cast(Any, Known)}))


class _Liar:
    """An exchange with one honest peer, and one that answers at random with full confidence."""

    def __init__(self, split: Split, liar: NodeId, seed: int) -> None:
        self._table = dict(zip(split.texts, split.vectors, strict=True))
        self._liar = liar
        self._noise = np.random.default_rng(seed)

    def on(self, kind: object, handler: object) -> None:
        """Nothing comes in."""

    async def request(self, node: NodeId, message: ReadRows, timeout: float) -> RowVectors:
        await asyncio.sleep(0)
        vectors = np.array([self._table[text] for text in message.texts], np.float32)
        if node == self._liar:
            vectors = self._noise.standard_normal(vectors.shape).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        elif node != NodeId(b"h" * 20):
            raise Unreachable("no such node")
        return RowVectors(pack(vectors))


def measure_liar(shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """Accuracy after 48 answers with and without one liar among three nodes."""
    train, test = shelf.load("banking12_train"), shelf.load("banking12_test")
    lost, shown = [], []
    for seed in range(seeds):
        tell(f"a liar, seed {seed + 1} of {seeds}")
        with redirect_stdout(sys.stderr):  # the liar is logged, and standard output is for the report
            lied = Split(train.texts, train.gold, asyncio.run(_read_with_a_liar(train, seed)))
        honest, deceived = (_accuracy(split, test, seed) for split in (train, lied))
        lost.append(honest - deceived)
        shown.append([round(honest, 4), round(deceived, 4)])
    report.bars.append(Bar(f"accuracy lost to one liar of three nodes, {AT} answers", mean(lost), "<=", 0.01))
    report.results[f"one liar of three: accuracy at {AT} answers without and with, each seed"] = shown


def _accuracy(train: Split, test: Split, seed: int) -> float:
    (stage,) = taught(train, seed, (AT,))
    return float((stage.names[stage.panel.judge(test.texts, test.vectors).shares.argmax(1)] == test.gold).mean())


async def _read_with_a_liar(train: Split, seed: int) -> NDArray[np.float32]:
    me, honest, liar = (NodeId(letter * 20) for letter in (b"m", b"h", b"l"))
    kept: dict[int, tuple[bytes, NodeId]] = {}
    size = 32

    async def fetch(start: int) -> Batch:
        return Batch(start, train.texts[start : start + size])

    async def keep(start: int, vectors: bytes, node: NodeId) -> None:
        kept[start] = (vectors, node)

    async def disown(node: NodeId) -> list[int]:
        gone = [start for start, (_, reader) in kept.items() if reader == node]
        return [start for start in gone if kept.pop(start)]

    crew = Crew(RUNTIME, me, cast(Exchange, _Liar(train, liar, seed)), lambda: [me, honest, liar], _Table(train))
    starts = range(0, len(train.texts), size)
    await crew.read(Pile(starts, fetch, keep, disown), local=False)
    return np.vstack([unpack(kept[start][0], len(train.texts[start : start + size])) for start in starts])


def measure_speed(shelf: Shelf, report: Report) -> None:
    """Reading beside embedding alone, in turns; re-labelling 10,000 rows after a correction."""
    texts = [text for name in ("banking12_train", "clinc_banking15_train") for text in shelf.load(name).texts][:SPEED_ROWS]
    alone, read = [], []
    embedder = shelf.embedder
    for start in range(0, SPEED_ROWS, 250):
        part = texts[start : start + 250]
        began = RUNTIME.monotonic()
        embedder._model.encode(part, show_progress_bar=False)
        middle = RUNTIME.monotonic()
        pack(embedder.embed(part))
        alone.append(middle - began)
        read.append(RUNTIME.monotonic() - middle)
    opened, learnt = _relabel(shelf.load("banking12_train"))
    per_row = sum(alone) / SPEED_ROWS
    ratio = (sum(read) / SPEED_ROWS * BIG + opened) / (per_row * BIG)
    report.bars.append(Bar("time of 10,000 rows on one node over embedding them alone (extrapolated)", ratio, "<=", 1.25))
    report.bars.append(Bar("re-labelling 10,000 rows after one correction, median ms", learnt * 1_000, "<=", 200.0))
    report.results |= {
        "embedding alone, rows/s": round(1 / per_row, 1),
        "reading, rows/s": round(SPEED_ROWS / sum(read), 1),
        f"opening {BIG} rows (views, graphs, coverage), s": round(opened, 2),
        "re-labelling, ms": round(learnt * 1_000, 1),
    }


def _relabel(train: Split) -> tuple[float, float]:
    """Seconds to open a project of 10,000 rows, and the median of a correction's learning; rows are jittered copies."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(train.texts), BIG)
    vectors = train.vectors[picks] + 0.02 * rng.standard_normal((BIG, train.vectors.shape[1])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [f"{train.texts[pick]} {number}" for number, pick in enumerate(picks)]
    gold, labels = train.gold[picks], sorted(set(train.gold.tolist()))
    bench = Bench(0)
    bench.take(Batch(0, texts, pack(vectors.astype(np.float32))), 1)
    began = RUNTIME.monotonic()
    bench.open(labels)
    opened = RUNTIME.monotonic() - began
    times = []
    for _ in range(40):
        for question in bench.questions(1, labels):
            bench.answers[question.row] = str(gold[question.row])
            began = RUNTIME.monotonic()
            bench.learn(labels)
            times.append(RUNTIME.monotonic() - began)
    return opened, median(times[-15:])
