"""Runs that outlive their home, over simulated links: crashes, hangs, partitions, homes that come back. Seeds stand in every failure."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from node.runs.run import OVER
from protocol.api.runs import RunRequest
from protocol.checkpoints import RunState, pack
from protocol.errors import NotFound
from protocol.messages import RunClaim
from tests.sim.sites import LONG, SEEDS, Pace, Site, Town, run, slowed


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    return slowed(monkeypatch)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_home_remains_after_crashes_partitions_and_returns(tmp_path: Path, seed: int) -> None:
    async def scenario(town: Town) -> None:
        rng, network = random.Random(f"faults {seed}"), town.world.network
        first = town.sites[0]
        run_id = await town.begin(first)
        await asyncio.sleep(5.0 + 5.0 * rng.random())
        fault = ["crash", "crash and return", "hang", "partition", "partition alone"][seed % 5]
        before = first.runs.get(run_id)
        if fault.startswith("crash"):
            await first.die()
        elif fault == "hang":
            network.hang(first.host)
        else:
            others = rng.sample(town.sites[1:], fault == "partition")
            network.partition([first.host, *(site.host for site in others)])
        await town.until(lambda: any(site is not first for site in town.homes(run_id)))
        await asyncio.sleep(10.0 * rng.random())
        network.heal()
        network.wake(first.host)
        if fault == "crash and return":
            network.restart(first.host)
            town.sites.remove(first)
            back = Site(town.world, first.name, town.folder, town.sites)
            await back.start(town.tasks)
        elif fault == "crash":
            town.sites.remove(first)
        await town.until(lambda: len(town.homes(run_id)) == 1, 60.0)
        (home,) = town.homes(run_id)
        assert home is not first
        assert home.info(run_id).iterations[-1].iteration >= before.iterations[-1].iteration - 40  # type: ignore[union-attr]
        hosted = [site.cells._runs for site in town.sites]
        await town.until(lambda: all(one.home == home.node_id for runs in hosted for one in runs.values()), 20.0)
        if not fault.startswith("crash"):
            told = first.runs.get(run_id)
            assert (told.state, "taken this run over" in told.detail) == ("stopped", True)
        info = await town.finished(run_id)
        last = info.iterations[-1]
        assert (last.iteration, len(last.cells), info.detail) == (LONG, 9, "")
        assert last.mean > 0.9
        print(f"seed {seed}: {fault}; {len(info.iterations)} iterations")

    run(tmp_path, seed, scenario)


def test_heirs_that_die_are_passed_over(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        run_id = await town.begin(town.sites[0])
        await asyncio.sleep(4.0)
        for _ in range(3):
            (home,) = town.homes(run_id)
            await home.die()
            town.sites.remove(home)
            await town.until(lambda: len(town.homes(run_id)) == 1, 60.0)
            await asyncio.sleep(8.0)
        info = await town.finished(run_id)
        assert (info.iterations[-1].iteration, len(info.iterations[-1].cells)) == (LONG, 9)

    run(tmp_path, 1, scenario, nodes=5)


def test_a_checkpoint_that_is_none_is_not_taken_up(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        liar, heir = town.sites[0], town.sites[1]
        states = [b"garbage"]
        for task in ("/tmp/theirs.py", "knitting", "colouring"):
            states.append(pack(RunState(b"r" * 20, task, {}, "running", 1.0, 0, None, b"no grid")))
        for state in states:
            digest = await liar.blobs.put(state)
            run_id = town.world.runtime.token_bytes(20) if state != states[-1] else b"r" * 20
            claim = RunClaim(run_id, 0, digest, 3, [liar.node_id, heir.node_id])
            await liar.exchange.request(heir.node_id, claim, 5.0)
        await liar.blobs.spread(digest, [heir.node_id], 1)
        await liar.die()
        await asyncio.sleep(60.0)
        assert [info.state for info in heir.runs.list()] == ["failed"]
        assert "cannot be used" in heir.runs.list()[0].detail

    run(tmp_path, 1, scenario)


def test_a_plan_of_an_outranked_home_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        first, second = town.sites[:2]
        run_id = await town.begin(first)
        key = first.runs._find(run_id).run_id
        await second.exchange.request(first.node_id, RunClaim(key, 1, b"d" * 32, 0, []), 5.0)
        await town.until(lambda: first.runs.get(run_id).state == "stopped")
        assert "taken this run over" in first.runs.get(run_id).detail
        other = next(site for site in town.sites[2:] if site.claims.of(key) is not None)
        with pytest.raises(NotFound, match="ask there"):
            other.runs.get(run_id)

    run(tmp_path, 1, scenario)


def test_cells_that_an_outranked_home_has_stopped_go_on_for_the_new_one(tmp_path: Path, pace: Pace) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        run_id = await town.begin(first)
        await asyncio.sleep(4.0)
        pace.step_s = 3.0
        town.world.network.hang(first.host)
        await town.until(lambda: bool(town.homes(run_id)[1:]))
        for site in town.sites[1:]:
            for hosted in site.cells._runs.values():
                hosted.settings.apply("stopped", {})
                hosted.plan = msgspec.structs.replace(hosted.plan, term=0, epoch=0)
                hosted.home = first.node_id
        (home,) = [site for site in town.homes(run_id) if site is not first]
        progress = home.home._progress[home.runs._find(run_id).run_id]
        plan = msgspec.structs.replace(progress.plan, epoch=progress.plan.epoch + 1)
        for site in town.sites[1:]:
            mine = [cell for cell, node in enumerate(plan.placement) if node == site.node_id]
            again = msgspec.structs.replace(plan, resumed=dict.fromkeys(mine, b""), reached=dict.fromkeys(mine, 1))
            site.cells.start(home.node_id, again)
        pace.step_s = 0.4
        info = await town.finished(run_id)
        assert info.iterations[-1].iteration == LONG

    run(tmp_path, 1, scenario)


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        for site in town.sites:
            site.blobs._files._folder = tmp_path / "gone"
        run_id = await town.begin(town.sites[0], iterations=50)
        info = await town.finished(run_id)
        assert (info.state, info.iterations[-1].iteration) == ("done", 50)

    run(tmp_path, 1, scenario)


@pytest.mark.parametrize("phase", ["at once", "paused", "in the middle", "before the take-over", "while taking over", "after it"])
def test_a_run_can_be_stopped_in_any_phase(tmp_path: Path, pace: Pace, phase: str) -> None:
    async def scenario(town: Town) -> None:
        first = town.sites[0]
        if phase == "at once":
            run_id = (await first.runs.start(RunRequest("colouring", {"size": 3, "iterations": LONG}))).run_id
        else:
            run_id = await town.begin(first)
        home = first
        if phase == "paused":
            first.runs.order(run_id, "paused")
            await asyncio.sleep(5.0)
        elif phase in ("before the take-over", "while taking over", "after it"):
            await asyncio.sleep(4.0)
            if phase == "before the take-over":
                pace.step_s = 10.0
                await asyncio.sleep(1.0)
                first.runs.order(run_id, "stopped")
                await asyncio.sleep(2.0)
            await first.die()
            town.sites.remove(first)
            await town.until(lambda: any(site.info(run_id) is not None for site in town.sites))
            home = next(site for site in town.sites if site.info(run_id) is not None)
            if phase == "after it":
                await asyncio.sleep(5.0)
        if phase != "before the take-over":
            home.runs.order(run_id, "stopped")
        await town.until(lambda: home.runs.get(run_id).state in OVER, 30.0)
        assert home.runs.get(run_id).state == "stopped"
        await town.until(lambda: not any(site.cells._runs for site in town.sites), 40.0)
        await asyncio.sleep(60.0)
        assert town.homes(run_id) == []
        assert all(len(site.succession) == 0 for site in town.sites)

    run(tmp_path, 1, scenario)
