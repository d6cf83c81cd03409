"""Checkpoints and claims by members that mean no good: what a node must not do on a peer's word."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.runs.claims import MAX_CLAIMS, Claims
from node.runs.manager import MAX_ADOPTED
from protocol.api.runs import RunRequest
from protocol.checkpoints import GridState, RunState, check_grid, pack
from protocol.errors import Malformed, NotAvailable
from protocol.identity import NodeId
from protocol.messages import CellStart, RunClaim
from tests.sim.sites import Town, run


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is no longer than a task's name may be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def grid(task: str, node: NodeId) -> GridState:
    return GridState(CellStart(b"r" * 20, task, 1, 1, 5, [node], {}), [], [0], [], [], [])


@pytest.mark.parametrize("where", ["run", "plan"])
def test_a_checkpoint_that_names_a_file_of_this_machine_runs_nothing(tmp_path: Path, short: Path, where: str) -> None:
    marker, file = tmp_path / "ran", short / "mine.py"
    file.write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")

    async def scenario(town: Town) -> None:
        liar, heir = town.sites[:2]
        heir.runs.register_files(heir.home.file_job)
        opened: list[str] = []
        heir.cells._workshop = lambda plan: opened.append(plan.task)  # type: ignore[assignment,method-assign,return-value]
        task = str(file) if where == "run" else "colouring"
        body = pack(grid(str(file), heir.node_id))
        digest = await liar.blobs.put(pack(RunState(b"r" * 20, task, {"size": 1}, "running", 1.0, 0, None, body)))
        assert await liar.blobs.spread(digest, [heir.node_id], 1)
        await liar.exchange.request(heir.node_id, RunClaim(b"r" * 20, 0, digest, 3, [liar.node_id, heir.node_id]), 5.0)
        await liar.die()
        await asyncio.sleep(60.0)
        assert opened == []
        assert [info.state for info in heir.runs.list()] in ([], ["failed"])

    run(tmp_path, 1, scenario, nodes=2)
    assert not marker.exists()


def test_a_grid_of_a_file_is_no_checkpoint() -> None:
    with pytest.raises(Malformed, match="file"):
        check_grid(grid("/srv/theirs.py", NodeId(b"n" * 20)))
    check_grid(grid("colouring", NodeId(b"n" * 20)))


def test_a_checkpoint_with_the_grid_of_another_run_is_refused(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        heir = town.sites[0]
        body = pack(grid("colouring", heir.node_id))
        heir.runs.adopt(RunState(b"s" * 20, "colouring", {"size": 1}, "running", 1.0, 0, None, body), 1)
        await asyncio.sleep(5.0)
        (info,) = heir.runs.list()
        assert (info.state, "another run's" in info.detail) == ("failed", True)

    run(tmp_path, 1, scenario, nodes=1)


def test_runs_of_others_leave_room_for_those_of_this_node(tmp_path: Path) -> None:
    async def scenario(town: Town) -> None:
        node = town.sites[0]
        for number in range(MAX_ADOPTED):
            node.runs.adopt(RunState(bytes([number]) * 20, "colouring", {}, "running", 1.0, 0, None, b"x"), 1)
        with pytest.raises(NotAvailable, match="of other nodes"):
            node.runs.adopt(RunState(b"m" * 20, "colouring", {}, "running", 1.0, 0, None, b"x"), 1)
        assert (await node.runs.start(RunRequest("colouring", {}))).run_id

    run(tmp_path, 1, scenario, nodes=1)


def test_a_node_that_makes_runs_up_does_not_lift_the_fence_of_others() -> None:
    claims, honest, liar = Claims(), NodeId(b"h" * 20), NodeId(b"l" * 20)
    claims.admit(b"r" * 20, 3, honest)
    for number in range(2 * MAX_CLAIMS):
        claims.admit(number.to_bytes(20, "big"), 0, liar)
    assert claims.of(b"r" * 20) == (3, honest)
    assert not claims.admit(b"r" * 20, 2, liar)
