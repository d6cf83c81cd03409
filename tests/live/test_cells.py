"""Packing over real daemons: a killed one costs its cells at most an iteration; a task file runs, or fails with its own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.api.runs import RunInfo, RunRequest
from protocol.errors import Conflict
from tests.live.conftest import LiveSwarm

pytestmark = pytest.mark.live

TINY = ("--brain", "tiny=1")
BAD = """
from node.tasks.base import Task
class Mine(Task):
    name, description = "mine", "raises"
    def valid(self, solution): return True
    def moves(self): return ("UP",)
    def start(self, rng): return b"1"
    def propose(self, own, heard, rng, move=""): raise RuntimeError("my own words")
    def evaluate(self, solution): return 1.0
    def render(self, solution): return "one"
"""


def test_a_killed_daemon_costs_its_cells_at_most_one_iteration(live: LiveSwarm) -> None:
    live.found(*TINY)
    live.join(2, *TINY)
    first, _, third = live.nodes
    request = RunRequest("circle_packing", {"size": 4, "iterations": 12, "seconds": 12.0, "n": 14, "pictures": "no"})
    run = first.client.post("/v1/runs", RunInfo, request)
    path = f"/v1/runs/{run.run_id}"
    live.wait(lambda: len(first.client.get(path, RunInfo).iterations) >= 3, "the third iteration")
    third.kill()
    live.wait(lambda: first.client.get(path, RunInfo).state != "running", "the end", 150)
    done = first.client.get(path, RunInfo)
    assert (done.state, done.detail) == ("done", "")
    ended = {cell.cell for one in done.iterations if one.iteration >= 12 for cell in one.cells}
    assert ended == set(range(16))
    best = json.loads(done.solution)
    assert best["n"] == 14
    assert best["radius"] == done.best


def test_a_packing_is_stopped_before_its_task_is_open_while_paused_and_at_the_end(live: LiveSwarm) -> None:
    client = live.found("--brain", "none").client
    for phase in ("at once", "paused", "computing"):
        request = RunRequest("circle_packing", {"size": 2, "iterations": 1_000, "n": 6, "pictures": "no"})
        run = client.post("/v1/runs", RunInfo, request)
        path = f"/v1/runs/{run.run_id}"
        if phase != "at once":
            live.wait(lambda path=path: len(client.get(path, RunInfo).iterations) >= 2, "two iterations")  # type: ignore[misc]
        if phase == "paused":
            assert client.post(path + "/pause", RunInfo).state == "paused"
        client.post(path + "/stop", RunInfo)
        live.wait(lambda path=path: client.get(path, RunInfo).state == "stopped", f"the end of a run stopped {phase}")  # type: ignore[misc]
        if phase != "at once":  # one that is stopped at once may have a solution already, or none
            assert client.get(path, RunInfo).solution
        with pytest.raises(Conflict):
            client.post(path + "/pause", RunInfo)


def test_a_task_file_that_raises_fails_its_run_with_its_own_words(live: LiveSwarm, tmp_path: Path) -> None:
    live.found(*TINY)
    path = tmp_path / "my_task.py"
    path.write_text(BAD)
    command = [sys.executable, "-m", "cli", "solve", str(path), "--grid", "2", "--api", live.nodes[0].client.api, "--json"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=os.environ)
    assert told.returncode == 1
    assert "my own words" in json.loads(told.stdout)["detail"]
