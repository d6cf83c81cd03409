"""A disk that is full for a while: the node lives, and labelling goes on when there is room again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.label import intake, sharing
from node.label.desk import Desk
from protocol.errors import NotAvailable
from protocol.labelling import AnswerRequest, ProjectRequest, RowsRequest
from tests.unit.label.test_desk import filled
from tests.unit.label.test_sharing import GOLD, TEXTS, knows, taught, until
from tests.unit.label.town import Town, running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SYNC_S", 0.05)
    monkeypatch.setattr(sharing, "GATHER_S", 0.01)
    monkeypatch.setattr(intake, "AGAIN_S", 0.05)


class Disk:
    """Of one desk; counts what it refused."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self.refused = False, 0
        kept = desk._book._store.write

        async def write(change: Callable[..., Any]) -> Any:
            if self.full:
                self.refused += 1
                raise NotAvailable("The disk is full.", code="disk_full")
            return await kept(change)

        monkeypatch.setattr(desk._book._store, "write", write)

    async def refuses(self) -> None:
        before = self.refused

        async def again() -> bool:
            return self.refused >= before + 3

        await until(again)


async def test_news_that_find_no_room_are_taken_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    async with running(tmp_path / "a", town, 1) as first, running(tmp_path / "b", town, 2) as second:
        disk = Disk(second, monkeypatch)
        project = await filled(first, TEXTS)
        await until(lambda: knows(second, project, 0))
        disk.full, town.deaf = True, set(town.nodes)
        row = (await first.questions(project, 1)).questions[0].row
        await first.answer(project, AnswerRequest(row, GOLD[row]))
        await disk.refuses()
        disk.full = False
        await until(lambda: knows(second, project, 1))


async def test_rows_that_are_read_while_the_disk_is_full_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path / "a") as desk:
        disk = Disk(desk, monkeypatch)
        project = (await desk.start(ProjectRequest("s", "pile", ["billing", "shipping"]))).id
        await desk.add(project, RowsRequest(0, TEXTS))
        await desk._intake.complete(project)
        disk.full = True  # before the first batch is read: reading has begun, and nothing else has run since
        await disk.refuses()
        assert (await desk.info(project)).phase == "reading"
        disk.full = False

        async def read() -> bool:
            return (await desk.info(project)).phase == "asking"

        await until(read)
        await taught(desk, project, 1)
