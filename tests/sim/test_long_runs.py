"""Runs that last: a large state is saved seldom and its home is believed all the same; what a long run made is kept after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from node.runs import succession
from node.runs.manager import KEEP_S, RunManager
from node.runs.run import Job, Run, Value
from node.runs.succession import MAX_EACH, PERIOD_S, SILENT_S
from node.testing import World, simulate
from protocol.api.runs import RunRequest, TaskInfo
from protocol.errors import NotFound
from protocol.messages import RunClaim
from tests.sim.sites import Pace, Town, run, slowed


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    return slowed(monkeypatch)


class Night(Job):
    """A run of two hours."""

    def info(self) -> TaskInfo:
        return TaskInfo("night", "Two hours.", {})

    def check(self, params: Mapping[str, Value]) -> dict[str, Value]:
        return dict(params)

    def live(self) -> frozenset[str]:
        return frozenset()

    async def carry_out(self, run: Run) -> None:
        await asyncio.sleep(2 * KEEP_S)
        run.keep("result.txt", b"found")


def test_what_a_long_run_made_is_kept_for_an_hour_after_its_end() -> None:
    async def main(world: World) -> None:
        runs = RunManager(world.runtime)
        runs.register(Night())
        owner = asyncio.create_task(runs.run())
        await asyncio.sleep(0)
        run_id = (await runs.start(RunRequest("night", {}))).run_id
        await asyncio.sleep(2.5 * KEEP_S)
        await runs.start(RunRequest("night", {}))
        assert runs.artifact(run_id, "result.txt") == b"found"
        await asyncio.sleep(KEEP_S)
        await runs.start(RunRequest("night", {}))
        with pytest.raises(NotFound):
            runs.artifact(run_id, "result.txt")
        owner.cancel()

    simulate(1, main)


def test_a_home_whose_state_is_large_is_not_taken_for_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "BYTES_PER_S", 1.0)  # nothing is saved twice

    async def scenario(town: Town) -> None:
        home = town.sites[0]
        run_id = await town.begin(home, size=2, seconds=100.0)
        await asyncio.sleep(SILENT_S + 4 * PERIOD_S)
        assert town.homes(run_id) == [home]
        assert home.runs._find(run_id).term == 0
        info = await town.finished(run_id)
        assert info.progress == 1.0

    run(tmp_path, 1, scenario)


def test_claims_of_one_node_do_not_push_out_those_of_others(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        liar, honest, holder = town.sites[:3]
        first = RunClaim(b"h" * 20, 0, b"d" * 32, 0, [honest.node_id, holder.node_id])
        await honest.exchange.request(holder.node_id, first, 5.0)
        for _ in range(MAX_EACH + 5):
            claim = RunClaim(town.world.runtime.token_bytes(20), 0, b"d" * 32, 0, [liar.node_id, holder.node_id])
            await liar.exchange.request(holder.node_id, claim, 5.0)
        assert len(holder.succession) == MAX_EACH + 1
        assert b"h" * 20 in holder.succession._held

    run(tmp_path, 1, scenario, nodes=3)


def test_a_run_that_ends_while_a_checkpoint_travels_leaves_no_copy_of_it(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        home, holder = town.sites
        for number, state in enumerate(("running", "done")):
            digest = await home.blobs.put(f"checkpoint {number}".encode())
            assert await home.blobs.spread(digest, [holder.node_id], 1) == [holder.node_id]
            claim = RunClaim(b"r" * 20, 0, digest, number, [home.node_id, holder.node_id], state)
            await home.exchange.request(holder.node_id, claim, 5.0)
        assert (len(holder.succession), len(holder.blobs)) == (0, 0)

    run(tmp_path, 1, scenario, nodes=2)
