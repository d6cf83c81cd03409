"""Learners are made where there is room, everybody can see where, and a node without them passes questions on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from node.label import room, sharing
from node.label.around import Around
from node.label.bench import Bench
from node.label.panel import Held
from protocol.errors import NotAvailable
from protocol.labelling import AnswerRequest
from tests.unit.label.test_desk import filled
from tests.unit.label.test_sharing import GOLD, TEXTS, knows, taught, until
from tests.unit.label.town import Town, running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SYNC_S", 0.05)
    monkeypatch.setattr(sharing, "GATHER_S", 0.01)


async def test_learners_are_made_where_there_is_room_and_the_others_pass_questions_on(tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    names: dict[bytes, str] = {}
    town = Town()

    def around(capacity: int) -> Around:
        return Around(capacity=lambda: capacity, name_of=lambda node: names.get(node, "?"), on_event=told.append)

    async with AsyncExitStack() as stack:
        desks = []
        for number, (name, capacity) in enumerate((("alder", 0), ("birch", 32), ("cedar", room.HEADS - 1)), 1):
            desks.append(await stack.enter_async_context(running(tmp_path / name, town, number, around=around(capacity))))
            names[next(node for node in town.nodes if node not in names)] = name
        home, roomy, full = desks
        project = await filled(home, TEXTS)
        await taught(home, project, 12)
        for desk in (roomy, full):
            await until(lambda desk=desk: knows(desk, project, 12))  # type: ignore[misc]

        async def divided() -> bool:
            said = any(event["learners_on"] == 2 and event["machines"] == "alder, birch" for event in told)
            return said and set((await home.info(project)).learners) == {"alder", "birch"}

        await until(divided)  # its own project a node always keeps; one of the others has room
        judged, *own = [[row.label for row in await desk.judge(project, TEXTS)] for desk in (full, home, roomy)]
        assert judged in own  # the two may differ: their heads took other ways
        assert full._benches.known(project) is None
        with pytest.raises(NotAvailable, match="no room for the learners"):
            await full.questions(project, 1)


def test_a_pile_that_would_fill_the_memory_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 400_000_000)
    assert "400" not in room.why_no_room(1_000, 0, lambda: 32)
    assert "quarter" in room.why_no_room(10_000, 0, lambda: 32)
    assert "8 agents" in room.why_no_room(10, 2, lambda: 8)


async def test_an_answer_does_not_wait_while_corrections_are_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, reached = threading.Event(), threading.Event()
    hold_back = Bench.hold_back

    def slowly(bench: Bench, labels: Sequence[str]) -> Held:
        reached.set()
        assert gate.wait(200)
        return hold_back(bench, labels)

    monkeypatch.setattr(Bench, "hold_back", slowly)
    async with running(tmp_path) as desk:
        project = await filled(desk, TEXTS, budget=40)
        try:
            for answered in range(30):
                row = (await desk.questions(project, 1)).questions[0].row
                info = await desk.answer(project, AnswerRequest(row, GOLD[row]))
                assert info.corrections == answered + 1
            assert await asyncio.to_thread(reached.wait, 200)  # in a thread that may be late
            assert info.held_back is None
        finally:
            gate.set()

        async def measured() -> bool:
            found = (await desk.info(project)).held_back
            return found is not None and found.corrections == 30

        await until(measured)
