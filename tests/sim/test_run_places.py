"""Where runs and their cells are: copies and records, pauses, newcomers, the overlay; over simulated links."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from protocol.api.runs import RunEdit
from protocol.identity import show_id
from protocol.records import key_of
from tests.sim.sites import LONG, Pace, Town, run, slowed


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    return slowed(monkeypatch)


def test_the_record_and_three_copies_say_where_a_run_is(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first)
        await asyncio.sleep(4.0)
        key = first.runs._find(run_id).run_id
        (record,) = await first.shelf.get(key_of(f"run {key.hex()}"))
        assert record.author == first.credentials.key.public
        assert sum(len(site.succession) for site in town.sites) == 3
        await asyncio.sleep(10.0)
        assert max(len(site.blobs) for site in town.sites) <= 2
        await town.finished(run_id)
        await asyncio.sleep(10.0)
        assert sum(len(site.succession) + len(site.blobs) for site in town.sites) == 0

    run(tmp_path, 1, scenario, nodes=6)


def test_a_paused_run_stays_paused_at_its_new_home(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first, topology="ring")
        first.runs.order(run_id, "paused")
        await asyncio.sleep(8.0)
        before = first.runs.get(run_id)
        await first.die()
        town.sites.remove(first)
        await town.until(lambda: len(town.homes(run_id)) == 1)
        (home,) = town.homes(run_id)
        await asyncio.sleep(30.0)
        info = home.runs.get(run_id)
        assert info.state == "paused"
        assert info.params == before.params
        assert before.iterations[-1].iteration <= info.iterations[-1].iteration <= before.iterations[-1].iteration + 2
        shown = {one.iteration: one.mean for one in info.iterations}
        assert all(shown[one.iteration] == one.mean for one in before.iterations[:-2])
        home.runs.order(run_id, "running")
        assert (await town.finished(run_id)).iterations[-1].iteration == LONG

    run(tmp_path, 1, scenario)


def test_cells_move_to_a_node_that_comes_and_only_to_it(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first, size=8)
        before = list(first.home._progress[first.runs._find(run_id).run_id].plan.placement)
        newcomer = await town.add(capacity=2.0)
        progress = first.home._progress[first.runs._find(run_id).run_id]
        await town.until(lambda: newcomer.node_id in progress.plan.placement, 20.0)
        after = progress.plan.placement
        changed = {cell for cell in range(64) if before[cell] != after[cell]}
        assert {after[cell] for cell in changed} == {newcomer.node_id}
        assert 12 <= len(changed) <= 32
        reached = {cell: progress.newest[cell].iteration for cell in changed}
        info = await town.finished(run_id)
        assert (info.iterations[-1].iteration, len(info.iterations[-1].cells), info.detail) == (LONG, 64, "")
        assert all(len(one.cells) == 64 for one in info.iterations[-20:])
        assert min(reached.values()) > 0
        assert len(newcomer.cells._runs) == 0

    run(tmp_path, 1, scenario)


def test_the_overlay_is_a_topology_that_can_be_switched_to(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first, size=6)
        first.runs.edit(run_id, RunEdit({"topology": "overlay"}))
        await asyncio.sleep(15.0)
        hosts = {cell.cell: cell.node_id for cell in first.runs.get(run_id).iterations[-3].cells}
        linked = {
            frozenset((hosts[cell.cell], hosts[other])) for cell in first.runs.get(run_id).iterations[-3].cells for other in cell.heard
        }
        ring = [show_id(site.node_id) for site in town.sites]
        wanted = {frozenset((ring[at - 1], node)) for at, node in enumerate(ring)} | {frozenset((node,)) for node in ring}
        assert linked == wanted
        first.runs.edit(run_id, RunEdit({"topology": "moore"}))
        assert (await town.finished(run_id)).iterations[-1].iteration == LONG

    run(tmp_path, 1, scenario)
