"""Cells on a grid of two by two, wired to each other: what clocks do to them, and whose traits spread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from node.cells.cell import Cell, Mouth, Settings
from node.cells.choosers import Chooser, Picked, Scripted, Sight
from node.runtime import SystemRuntime
from node.tasks.base import Heard
from node.tasks.workshop import Outcome, Workshop
from protocol.messages import CellMessage, CellReport, CellStart

ME = b"n" * 20


class Counting(Workshop):
    """A solution is one byte, worth its value; nobody ever gains, and every step takes the time it is given."""

    name = "counting"

    def __init__(self, first: int) -> None:
        self.first = first

    def valid(self, solution: bytes) -> bool:
        return len(solution) == 1

    async def start(self, seed: int) -> Outcome:
        return Outcome(bytes([self.first]), float(self.first))

    async def look(self, own: bytes, heard: Heard) -> str:
        return ""

    async def invite(self, own: bytes, heard: Heard) -> tuple[str, tuple[str, ...]]:
        return "", ()

    async def step(self, own: bytes, heard: Heard, moves: Sequence[str], seed: int, seconds: float) -> Outcome:
        await asyncio.sleep(min(seconds, 0.05))
        return Outcome(own, float(own[0]), (0.0,), {cell: float(solution[0]) for cell, solution in heard.items()})

    async def render(self, solution: bytes) -> str:
        return str(solution[0])

    async def check(self, solution: bytes) -> float:
        return float(solution[0])


class Watching(Chooser):
    """Notes the personas that look."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def pick(self, sight: Sight, count: int, rng: object) -> Picked:
        self.seen.append(sight.persona)
        return Picked()


class Grid:
    """Four cells; `firsts` are their first solutions."""

    def __init__(self, firsts: Sequence[int], settings: dict[str, int | float | str], iterations: int, choosers: Sequence[Chooser]) -> None:
        plan = CellStart(b"r" * 20, "counting", 1, 2, iterations, [ME] * 4, settings)
        self.reports: list[CellReport] = []
        self.cells: list[Cell] = []
        mouth = Mouth(self._say, self.reports.append)
        for number, first in enumerate(firsts):
            self.cells.append(Cell(SystemRuntime(), plan, number, Counting(first), Settings(plan), choosers[number], mouth))

    def _say(self, message: CellMessage) -> None:
        self.cells[message.receiver].hear(message)


async def test_a_cell_whose_clock_ends_it_first_does_not_keep_its_neighbours_waiting() -> None:
    settings: dict[str, int | float | str] = {"seconds": 0.6, "patience": 600.0}
    grid = Grid([1, 2, 3, 4], settings, 1, [Scripted()] * 4)
    async with asyncio.timeout(60), asyncio.TaskGroup() as living:
        for number, cell in enumerate(grid.cells):
            cell._started += 0.07 * number  # clocks of cells differ
            living.create_task(cell.live())
    assert sorted(report.cell for report in grid.reports if report.last) == [0, 1, 2, 3]


async def test_traits_of_the_cell_that_does_best_spread_and_its_own_stay() -> None:
    watching = [Watching() for _ in range(4)]
    grid = Grid([9, 1, 1, 1], {}, 40, watching)
    async with asyncio.timeout(100), asyncio.TaskGroup() as living:
        for cell in grid.cells:
            living.create_task(cell.live())
    winner = watching[0].seen
    assert len(set(winner)) == 1
    for number in (1, 2):  # its neighbours: mutations aside they end up alike
        same = sum(one == two for one, two in zip(watching[number].seen[-1], winner[0], strict=True))
        assert same >= 2
    assert any(seen.seen[0] != winner[0] for seen in watching[1:])
