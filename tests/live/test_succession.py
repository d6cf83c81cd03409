"""A run outlives the daemon it was started on: real processes, SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from cli.client import Client
from protocol.api.runs import ArtifactInfo, RunInfo, RunRequest
from tests.live.conftest import LiveSwarm

pytestmark = pytest.mark.live

TINY = ("--brain", "tiny=1")


def test_a_run_whose_home_is_killed_completes_elsewhere(live: LiveSwarm) -> None:
    live.found(*TINY)
    live.join(2, *TINY)
    first, *others = live.nodes
    params: dict[str, int | float | str] = {"size": 3, "iterations": 12, "seconds": 10.0, "n": 10, "pictures": "no"}
    run = first.client.post("/v1/runs", RunInfo, RunRequest("circle_packing", params))
    path = f"/v1/runs/{run.run_id}"
    live.wait(lambda: len(first.client.get(path, RunInfo).iterations) >= 3, "the third iteration")
    live.wait(lambda: any("moot_runs_held 1.0" in other.client.download("/metrics").decode() for other in others), "a holder")
    before = first.client.get(path, RunInfo)
    first.kill()

    def homes() -> list[Client]:
        """Where the run is over. On a busy machine both may have taken it up; then one has stepped down."""
        return [one.client for one in others for page in one.client.get("/v1/runs", list[RunInfo]) if page.state in ("done", "failed")]

    live.wait(lambda: bool(homes()), "the end elsewhere", 150)
    (home,) = homes()
    done = home.get(path, RunInfo)
    assert (done.state, done.detail) == ("done", "")
    assert (done.run_id, done.task, done.params) == (run.run_id, "circle_packing", before.params)
    assert done.best
    ended = {cell.cell for one in done.iterations if one.iteration >= 12 for cell in one.cells}
    assert ended == set(range(9))
    names = {artifact.name for artifact in home.get(path + "/artifacts", list[ArtifactInfo])}
    assert names >= {"best.json", "solutions.txt", "scores.csv"}
    assert json.loads(home.download(path + "/artifacts/best.json"))["radius"] == done.best
    command = [sys.executable, "-m", "cli", "runs", "show", run.run_id, "--api", home.api, "--json"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=os.environ)
    assert json.loads(told.stdout)["state"] == "done"
