"""Labelling by real daemons over HTTP: the curve, the whole job's time, speed-up, memory. `tests/bench/label.py` calls these parts.

    swarm_curve     accuracy at 24 / 48 / 96 / 192 oracle answers: asked and answered at one daemon, judged at another
    liar_cost       the same at 48 answers, one daemon of three sending random vectors
    whole_job       N rows on one node, from the first row sent to the last label and the receipt, beside embedding them alone
    pinned_speedup  reading by one and by three daemons, each pinned to a core (there are often fewer cores: `cores` says)
    memory_flatness resident memory of a daemon after 2,000, 10,000 and 50,000 rows, with the embedder that needs no weights

`python -m tests.bench.label_swarm PART [N]` runs one.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from cli.child import ChildDaemon
from cli.client import Client
from node.runtime import SystemRuntime
from protocol.api.nodes import Peers, TokenReply, TokenRequest
from protocol.errors import UserError
from protocol.labelling import (
    AnswerRequest,
    ProjectInfo,
    ProjectRequest,
    Questions,
    ReceiptInfo,
    RowLabel,
    RowLabels,
    RowsRequest,
    TextsRequest,
)

DATA = Path(__file__).parents[1] / "data" / "labelling"
LOOPBACK = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--brain", "none")
STOPS = (24, 48, 96, 192)
BATCH = 8
AT_ONCE = 256
PATIENCE_S = 400.0
RUNTIME = SystemRuntime()
Tell = Callable[[str], None]

ALONE = """
import json, sys, time
from node.brains.embedder import MiniLmEmbedder
model = MiniLmEmbedder(1)._model
texts = json.load(open(sys.argv[1]))
model.encode(texts[:64], show_progress_bar=False)
began = time.perf_counter()
model.encode(texts, show_progress_bar=False)
print(time.perf_counter() - began)
"""
LYING = """
import numpy as np
import node.label.crew as crew
noise = np.random.default_rng(1)
def lie(vectors):
    made = noise.standard_normal(vectors.shape)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f2").tobytes()
crew.pack = lie
"""
HASHED = """
import node.brains.embedders as embedders
embedders.minilm_installed = lambda: False
"""


def swarm_curve(data_dir: Path, dataset: str, seed: int, tell: Tell) -> dict[str, Any]:
    """Accuracy on the test rows by answers, judged at a daemon that did not start the project and never saw a question."""
    train, test = _rows(data_dir / f"{dataset}_train.csv"), _rows(data_dir / f"{dataset}_test.csv")
    curve: dict[str, float] = {}
    with _swarm(3) as nodes:
        home, other = nodes[0].client, nodes[1].client
        project = _fill(home, f"{dataset} {seed}", [row["text"] for row in train], tell)
        read = {helper.node_id: helper.rows for helper in _info(home, project).helpers}
        for stop in STOPS:
            _answer(home, project, train, stop)
            _until(lambda stop=stop: _corrections(other, project) == stop, "the corrections to arrive")  # type: ignore[misc]
            curve[str(stop)] = _accuracy(other, project, test)
            tell(f"{dataset}, seed {seed}: {curve[str(stop)]:.4f} at {stop} answers")
    return {"dataset": dataset, "seed": seed, "accuracy": curve, "rows read by each daemon": sorted(read.values())}


def liar_cost(data_dir: Path, dataset: str, seed: int, tell: Tell) -> dict[str, Any]:
    """Accuracy after 48 answers with three honest daemons and with one liar among three."""
    train, test = _rows(data_dir / f"{dataset}_train.csv"), _rows(data_dir / f"{dataset}_test.csv")
    found: dict[str, Any] = {}
    for name, liars in (("honest", 0), ("one liar", 1)):
        with _swarm(3, liars=liars) as nodes:
            home = nodes[0].client
            project = _fill(home, f"{dataset} {seed}", [row["text"] for row in train], tell)
            _answer(home, project, train, 48)
            found[name] = _accuracy(home, project, test)
            found[f"{name}: barred"] = sum(helper.barred for helper in _info(home, project).helpers)
    return {**found, "lost": found["honest"] - found["one liar"]}


def whole_job(rows: int, tell: Tell) -> dict[str, Any]:
    """Seconds for everything on one node with one thread, and for embedding the same rows alone before and after it."""
    texts, gold = _many(rows)
    with tempfile.TemporaryDirectory(prefix="moot-bench-") as scratch:
        path = Path(scratch) / "texts.json"
        path.write_text(json.dumps(texts))
        before = _alone(path)
        tell(f"embedding {rows} rows alone: {before:.1f} s")
        with _swarm(1) as nodes:
            client = nodes[0].client
            client.post("/v1/labelling", ProjectInfo, ProjectRequest("warm up"), PATIENCE_S)  # loads the embedder, as ALONE does
            marks = [RUNTIME.monotonic()]
            project = _fill(client, "whole job", texts, tell)
            marks.append(RUNTIME.monotonic())
            _answer(client, project, gold, 24)
            marks.append(RUNTIME.monotonic())
            labelled = _labels(client, project, rows)
            receipt = client.post(f"/v1/labelling/{project}/receipt", ReceiptInfo, timeout_s=PATIENCE_S)
            marks.append(RUNTIME.monotonic())
            again = _relabelling(client, project, gold)
        after = _alone(path)
    assert receipt.rows == len(labelled) == rows
    alone, job = (before + after) / 2, marks[-1] - marks[0]
    steps = [round(late - early, 2) for early, late in pairwise(marks)]
    return {
        "rows": rows,
        "embedding alone, s": [round(before, 2), round(after, 2)],
        "whole job, s": round(job, 2),
        "reading; 24 answers and the learners' look at the pile; all labels and the receipt, s": steps,
        "ratio": round(job / alone, 3),
        "rows right": round(sum(label.label == row["label"] for label, row in zip(labelled, gold, strict=True)) / rows, 4),
        "an answer over HTTP, learnt and the pool judged again, median ms": again,
    }


def pinned_speedup(rows: int, tell: Tell) -> dict[str, Any]:
    """Seconds to read `rows` rows by one daemon on one core and by three, each pinned to its own (shared where there are fewer)."""
    texts, _ = _many(rows)
    cores = sorted(os.sched_getaffinity(0))
    took: dict[int, float] = {}
    shares: list[int] = []
    for count in (1, 3):
        with _swarm(count, pins=[cores[at % len(cores)] for at in range(count)]) as nodes:
            for node in nodes:
                node.client.post("/v1/labelling", ProjectInfo, ProjectRequest("warm up"), PATIENCE_S)
            began = RUNTIME.monotonic()
            project = _fill(nodes[0].client, "speed", texts, tell)
            took[count] = RUNTIME.monotonic() - began
            shares = sorted(helper.rows for helper in _info(nodes[0].client, project).helpers)
            tell(f"{count} daemons: {took[count]:.1f} s")
    return {
        "rows": rows,
        "cores": len(cores),
        "one daemon, s": round(took[1], 2),
        "three daemons, s": round(took[3], 2),
        "speed-up": round(took[1] / took[3], 2),
        "rows read by each of three": shares,
    }


def memory_flatness(tell: Tell) -> dict[str, Any]:
    """Resident MB of one daemon after everything was done with so many rows; embedding is by hashed n-grams."""
    found: dict[str, Any] = {}
    for rows in (2_000, 10_000, 50_000):
        texts, gold = _many(rows)
        with _swarm(1, hashed=True) as nodes:
            client, process = nodes[0].client, psutil.Process(nodes[0].process.pid)
            idle = process.memory_info().rss
            project = _fill(client, "memory", texts, tell)
            read = process.memory_info().rss
            _answer(client, project, gold, 24)
            _labels(client, project, rows)
            client.post(f"/v1/labelling/{project}/receipt", ReceiptInfo, timeout_s=PATIENCE_S)
            done = process.memory_info().rss
        found[str(rows)] = {"idle": round(idle / 1e6), "read": round(read / 1e6), "labelled": round(done / 1e6)}
        tell(f"{rows} rows: {found[str(rows)]}")
    grown = (found["50000"]["labelled"] - found["10000"]["labelled"]) * 1e6 / 40_000
    return {"resident MB": found, "bytes a row beyond 10,000": round(grown)}


# ---- daemons -------------------------------------------------------------------------------------------------------------


@contextmanager
def _swarm(count: int, *, pins: list[int] | None = None, liars: int = 0, hashed: bool = False) -> Iterator[list[ChildDaemon]]:
    """Daemons of one swarm with one thread each; the last `liars` send random vectors."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moot-bench-")))
        stack.enter_context(_environment({"OMP_NUM_THREADS": "1"}))
        stack.enter_context(_ended_by_sigterm())
        nodes: list[ChildDaemon] = []
        invitation: tuple[str, ...] = ()
        for number in range(count):
            change = HASHED * hashed + LYING * (number >= count - liars)
            daemon = _start(root, f"n{number}", (*LOOPBACK, "--name", f"n{number}", *invitation), change)
            stack.callback(daemon.stop)
            if pins is not None:
                os.sched_setaffinity(daemon.process.pid, {pins[number]})
            daemon.wait_ready()
            nodes.append(daemon)
            if number == 0 and count > 1:
                token = daemon.client.post("/v1/tokens", TokenReply, TokenRequest(600, count - 1)).token
                invitation = ("--bootstrap", daemon.address, "--token", token)
        _until(lambda: all(_living(node) == count for node in nodes), "the daemons to meet")
        yield nodes


def _start(root: Path, name: str, flags: tuple[str, ...], change: str) -> ChildDaemon:
    """A daemon whose interpreter runs `change` first (Python's `sitecustomize`)."""
    folder = root / f"{name}-site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(change)
    with _environment({"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}"}):
        return ChildDaemon(root / name, flags)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that daemons end with whoever started them; a second one while they end changes nothing."""

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _living(node: ChildDaemon) -> int:
    return len([member for member in node.client.get("/v1/peers", Peers).members if member.state == "alive"])


def _until(condition: Callable[[], bool], what: str, pause_s: float = 0.05) -> None:
    pause, deadline = threading.Event(), RUNTIME.monotonic() + PATIENCE_S
    while not condition():
        if RUNTIME.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}, in vain")
        pause.wait(pause_s)


# ---- a project over HTTP -----------------------------------------------------------------------------------------------------


def _info(client: Client, project: str) -> ProjectInfo:
    return client.get(f"/v1/labelling/{project}", ProjectInfo, PATIENCE_S)


def _corrections(client: Client, project: str) -> int:
    try:
        return _info(client, project).corrections
    except UserError:
        return -1


def _fill(client: Client, source: str, texts: list[str], tell: Tell) -> str:
    """Send the rows and wait until they are read."""
    project = client.post("/v1/labelling", ProjectInfo, ProjectRequest(source, source, [], 1_000), PATIENCE_S).id
    for start in range(0, len(texts), AT_ONCE):
        client.post(f"/v1/labelling/{project}/rows", ProjectInfo, RowsRequest(start, texts[start : start + AT_ONCE]), PATIENCE_S)
    client.post(f"/v1/labelling/{project}/complete", ProjectInfo)
    _until(lambda: _info(client, project).phase not in ("filling", "reading"), "the rows to be read", 0.2)
    tell(f"{len(texts)} rows are read")
    return project


def _answer(client: Client, project: str, gold: list[dict[str, str]], stop: int) -> None:
    """Oracle answers until there are `stop`."""
    while (left := stop - _corrections(client, project)) > 0:
        asked = client.get(f"/v1/labelling/{project}/next?count={min(BATCH, left)}", Questions, PATIENCE_S).questions
        for question in asked:
            _say(client, project, gold, question.row)


def _say(client: Client, project: str, gold: list[dict[str, str]], row: int) -> None:
    client.post(f"/v1/labelling/{project}/answer", ProjectInfo, AnswerRequest(row, gold[row]["label"]), PATIENCE_S)


def _accuracy(client: Client, project: str, test: list[dict[str, str]]) -> float:
    """At full coverage: an abstention counts by the label it would have been."""
    right = 0
    for start in range(0, len(test), AT_ONCE):
        part = test[start : start + AT_ONCE]
        body = TextsRequest([row["text"] for row in part])
        judged = client.post(f"/v1/labelling/{project}/judge", list[RowLabel], body, PATIENCE_S)
        right += sum(label.best == row["label"] for label, row in zip(judged, part, strict=True))
    return right / len(test)


def _labels(client: Client, project: str, rows: int) -> list[RowLabel]:
    found: list[RowLabel] = []
    while len(found) < rows:
        found += client.get(f"/v1/labelling/{project}/labels?start={len(found)}", RowLabels, PATIENCE_S).rows
    return found


def _relabelling(client: Client, project: str, gold: list[dict[str, str]]) -> float:
    """Median milliseconds of an answer, from sending it to the reply; questions are fetched in between."""
    took = []
    for _ in range(15):
        (question,) = client.get(f"/v1/labelling/{project}/next", Questions, PATIENCE_S).questions
        began = RUNTIME.monotonic()
        _say(client, project, gold, question.row)
        took.append((RUNTIME.monotonic() - began) * 1_000)
    return round(median(took), 1)


# ---- rows --------------------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _many(count: int) -> tuple[list[str], list[dict[str, str]]]:
    """As many different texts as wanted: the bank's questions, each with another number behind it."""
    rows = _rows(DATA / "banking12_train.csv")
    gold = [rows[number % len(rows)] for number in range(count)]
    return [f"{row['text']} ({number})" if number >= len(rows) else row["text"] for number, row in enumerate(gold)], gold


def _alone(path: Path) -> float:
    """Seconds that sentence-transformers takes for these texts in a process of its own with one thread, loading left out."""
    done = subprocess.run([sys.executable, "-c", ALONE, str(path)], capture_output=True, check=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    part, number = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "curve": lambda: swarm_curve(DATA, "banking12", number, tell),
        "liar": lambda: liar_cost(DATA, "banking12", number, tell),
        "job": lambda: whole_job(number or 10_000, tell),
        "speedup": lambda: pinned_speedup(number or 3_000, tell),
        "memory": lambda: memory_flatness(tell),
    }
    print(json.dumps(parts[part](), indent=2))


if __name__ == "__main__":
    main()
