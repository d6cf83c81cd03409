"""One cell: it says what it has, hears its neighbours, proposes something better, and again.

    exchange 0          everybody's start
    iteration 1, 2 ...  propose from what was heard; say it; hear what the neighbours propose at the same time; score; report

A cell waits for a neighbour until it has spoken or has been silent for `SILENCE_S`. While it waits it repeats its own message, which
tells its neighbours that it lives and mends a message that was lost; so one dead node costs its neighbours one silence, once, and the
delay does not spread. Whoever was silent is not waited for again until it speaks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

from node.cells.grid import neighbours
from node.runtime import Runtime
from node.tasks.base import Task
from protocol.messages import CellMessage, CellReport, CellStart

REPEAT_S = 0.5
SILENCE_S = 2.0
START_S = 6.0
"""At the start a neighbour may be silent this long: its host may not have heard of the run yet."""
EXCHANGE_S = 12.0
"""The longest one exchange may take, whatever the neighbours do."""
AHEAD = 4
"""Messages kept of one neighbour: it may be ahead of us."""


class Cell:
    """A cell of one run on the node that hosts it."""

    def __init__(
        self,
        runtime: Runtime,
        plan: CellStart,
        number: int,
        task: Task,
        say: Callable[[CellMessage], None],
        report: Callable[[CellReport], None],
    ) -> None:
        self._runtime = runtime
        self._plan = plan
        self._number = number
        self._task = task
        self._say = say
        self._report = report
        self._random = random.Random(f"{plan.seed} {number}")
        self._neighbours = neighbours(plan.size, number)
        self._inbox: dict[int, dict[int, bytes]] = {neighbour: {} for neighbour in self._neighbours}
        self._patience = dict.fromkeys(self._neighbours, runtime.monotonic() + START_S)
        self._news = asyncio.Event()

    def hear(self, message: CellMessage) -> None:
        """A neighbour's message; anything else is ignored."""
        box = self._inbox.get(message.sender)
        if box is None or not self._task.valid(message.body):
            return
        box[message.iteration] = message.body
        while len(box) > AHEAD:
            del box[min(box)]
        self._patience[message.sender] = self._runtime.monotonic() + SILENCE_S
        self._news.set()

    async def live(self) -> None:
        """All iterations, to the end."""
        solution = self._task.start(self._random)
        heard = await self._exchange(0, solution)
        for iteration in range(1, self._plan.iterations + 1):
            solution = self._task.propose(solution, heard, self._random)
            read = sorted(heard)
            heard = await self._exchange(iteration, solution)
            score = self._task.score(solution, heard, len(self._neighbours))
            self._report(CellReport(self._plan.run_id, iteration, self._number, score, solution, read))

    async def _exchange(self, iteration: int, solution: bytes) -> Mapping[int, bytes]:
        """Say the solution and return those of the neighbours that spoke in time."""
        clock = self._runtime.monotonic
        until = clock() + EXCHANGE_S
        repeat = clock() + REPEAT_S
        self._tell(iteration, solution)
        while (end := min(until, self._latest(iteration))) > clock():
            self._news.clear()
            try:
                async with asyncio.timeout(min(end, repeat) - clock()):
                    await self._news.wait()
            except TimeoutError:
                if clock() >= repeat:
                    repeat += REPEAT_S
                    self._tell(iteration, solution)
        return {neighbour: box[iteration] for neighbour, box in self._inbox.items() if iteration in box}

    def _latest(self, iteration: int) -> float:
        """When the last neighbour that has not spoken yet will have been silent for too long; 0 when all have spoken."""
        missing = [neighbour for neighbour, box in self._inbox.items() if max(box, default=-1) < iteration]
        return max((self._patience[neighbour] for neighbour in missing), default=0.0)

    def _tell(self, iteration: int, solution: bytes) -> None:
        for neighbour in self._neighbours:
            self._say(CellMessage(self._plan.run_id, iteration, self._number, neighbour, solution))
