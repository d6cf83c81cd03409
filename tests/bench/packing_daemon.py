"""What every part of the packing benchmark needs: a daemon of its own, a run watched from outside, results that outlive an interruption."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from cli import daemons
from cli.client import Client
from cli.packings import known_radii
from cli.target import read_api_file
from node.runtime import SystemRuntime
from protocol.api.runs import RunInfo, RunRequest

KNOWN = known_radii()
OVER = ("done", "failed", "stopped")
Params = dict[str, int | float | str]


class Ledger:
    """Results by key, a line each in the file that `MOOT_RESULTS` names: a part that was cut off goes on where it was.

    Without the variable nothing is kept and everything is measured.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        path = os.environ.get("MOOT_RESULTS")
        self._path = Path(path) if path else None
        self.rows: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.exists():
            for line in self._path.read_text().splitlines():
                row = json.loads(line)
                if row["part"] == part:
                    self.rows[row["key"]] = row["row"]

    def put(self, key: str, row: dict[str, Any]) -> None:
        self.rows[key] = row
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"part": self._part, "key": key, "row": row}) + "\n")


def numbers(variable: str, default: str) -> list[int]:
    """`2-5,9` as [2, 3, 4, 5, 9], from the environment."""
    found: list[int] = []
    for part in os.environ.get(variable, default).split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@contextmanager
def daemon(*flags: str) -> Iterator[tuple[Client, psutil.Process]]:
    """A daemon that ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        usual = ["--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--name", path.name]
        if "--brain" not in flags:
            usual += ["--brain", "none"]
        starting = daemons.start(path, [*usual, *flags])
        ready = starting.ready()
        try:
            yield Client(ready.api, read_api_file(path).admin_token), psutil.Process(starting.process.pid)
        finally:
            daemons.stop(path)


def solve(client: Client, task: str, params: Params, target: float = math.inf) -> tuple[RunInfo, float]:
    """The run and its wall seconds; it is watched from outside and stopped at the target."""
    clock = SystemRuntime().monotonic
    began, reached = clock(), 0.0
    with client.events() as happened:
        run = client.post("/v1/runs", RunInfo, RunRequest(task, params))
        path = f"/v1/runs/{run.run_id}"
        while run.state not in OVER:
            next(happened)
            run = client.get(path, RunInfo)
            if run.state == "running" and not reached and run.best is not None and run.best >= target:
                reached = clock() - began
                client.post(path + "/stop", RunInfo)
    return run, reached or clock() - began


def load() -> float:
    """The machine's load average: what a time is worth."""
    return round(os.getloadavg()[0], 1)
