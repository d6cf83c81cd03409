"""The node where a grid run was started: it places the cells, tells their hosts, and gathers reports. It hears no cell message."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

import structlog

from node.cells.grid import neighbours, place
from node.cells.host import MAX_ITERATIONS, CellHost
from node.cells.post import Post
from node.runs.run import Job, Run
from node.runtime import Runtime
from node.tasks.base import Task
from protocol.api import CellInfo, IterationInfo, TaskInfo
from protocol.errors import NotAvailable, PeerError
from protocol.identity import NodeId, show_id
from protocol.messages import CellReport, CellStart

START_S = 5.0
"""Wait for a host to take its cells."""
SILENCE_S = 8.0
"""A run ends when no report has come for this long: longer than a cell waits for neighbours that are gone."""
DETAILED = 4_096
"""Reports kept cell by cell; of older iterations only mean, best and worst remain."""

Schema = dict[str, dict[str, int]]
PARAMS: Schema = {"size": {"low": 1, "high": 32, "default": 3}, "iterations": {"low": 1, "high": MAX_ITERATIONS, "default": 1}}
log = structlog.get_logger("cells")


class _Iteration:
    """The reports of one iteration."""

    def __init__(self) -> None:
        self.cells: dict[int, CellInfo] = {}
        self.scores: dict[int, float] = {}

    def info(self, number: int) -> IterationInfo:
        scores = self.scores.values()
        cells = [self.cells[cell] for cell in sorted(self.cells)]
        return IterationInfo(number, math.fsum(scores) / len(scores), max(scores), min(scores), cells)


class Progress:
    """What the cells of one run have reported."""

    def __init__(self, plan: CellStart, task: Task) -> None:
        self._plan = plan
        self._task = task
        self._iterations: dict[int, _Iteration] = {}
        self.waiting = set(range(len(plan.placement)))
        """Cells that have not reported their last iteration."""
        self.lost: set[int] = set()
        """Cells whose node did not take them."""
        self.news = asyncio.Event()

    def take(self, sender: NodeId, report: CellReport) -> None:
        """A report, if it comes from its cell's host, is sound, and is the first of its kind."""
        plan, cell = self._plan, report.cell
        if cell >= len(plan.placement) or plan.placement[cell] != sender or not 1 <= report.iteration <= plan.iterations:
            return
        if not (self._task.valid(report.solution) and 0.0 <= report.score <= 1.0):
            return
        iteration = self._iterations.setdefault(report.iteration, _Iteration())
        if cell in iteration.scores:
            return
        around = neighbours(plan.size, cell)
        heard = sorted({number for number in report.heard if number in around})
        row, column = divmod(cell, plan.size)
        solution = self._task.show(report.solution)
        iteration.scores[cell] = report.score
        iteration.cells[cell] = CellInfo(cell, row, column, show_id(sender), report.score, solution, heard)
        self._forget()
        if report.iteration == plan.iterations:
            self.waiting.discard(cell)
        self.news.set()

    def give_up(self, node_id: NodeId) -> None:
        """Nothing is to be expected of this node's cells."""
        self.lost |= {cell for cell, host in enumerate(self._plan.placement) if host == node_id}
        self.news.set()

    def infos(self) -> list[IterationInfo]:
        return [self._iterations[number].info(number) for number in sorted(self._iterations)]

    def silent(self) -> str:
        """One sentence about the cells that did not finish; empty when all did."""
        if not self.waiting:
            return ""
        nodes = sorted({show_id(self._plan.placement[cell]) for cell in self.waiting})
        cells = ", ".join(map(str, sorted(self.waiting)[:20])) + (", ..." if len(self.waiting) > 20 else "")
        return f"{len(self.waiting)} of {len(self._plan.placement)} cells did not finish ({cells}); their nodes: {', '.join(nodes[:8])}"

    def _forget(self) -> None:
        kept = sum(len(iteration.cells) for iteration in self._iterations.values())
        for number in sorted(self._iterations)[:-1]:
            if kept <= DETAILED:
                return
            kept -= len(self._iterations[number].cells)
            self._iterations[number].cells.clear()


class GridHome:
    """Runs started on this node, and their progress."""

    def __init__(self, runtime: Runtime, me: NodeId, host: CellHost, post: Post, nodes: Callable[[], list[NodeId]]) -> None:
        """`nodes` names the live nodes, this one included."""
        self._runtime = runtime
        self._me = me
        self._host = host
        self._courier = post.courier
        self._nodes = nodes
        self._progress: dict[bytes, Progress] = {}
        post.on(CellReport, self._reported)

    def jobs(self, tasks: Mapping[str, Task]) -> list[GridJob]:
        """What to register with the run manager."""
        return [GridJob(self, task) for task in tasks.values()]

    async def carry_out(self, run: Run, task: Task) -> None:
        """Place, start, gather. Raises `NotAvailable` when no cell answered."""
        size, iterations = run.params["size"], run.params["iterations"]
        placement = await self._runtime.run_blocking(place, run.run_id, size * size, self._nodes() or [self._me])
        seed = self._runtime.random().getrandbits(32)
        plan = CellStart(run.run_id, task.name, seed, size, iterations, list(placement))
        progress = self._progress[run.run_id] = Progress(plan, task)
        run.iterations = progress.infos
        try:
            async with asyncio.TaskGroup() as starting:
                for node_id in dict.fromkeys(placement):
                    starting.create_task(self._start(node_id, plan, progress))
                await self._gather(progress)
        finally:
            del self._progress[run.run_id]
        run.detail = progress.silent()
        if not progress.infos():
            raise NotAvailable(f"No cell of this run answered: {run.detail}.")

    async def _start(self, node_id: NodeId, plan: CellStart, progress: Progress) -> None:
        try:
            if node_id == self._me:
                self._host.start(self._me, plan)
            else:
                await self._courier.request(node_id, plan, START_S)
        except PeerError as error:
            log.warning("a node did not take its cells", node=show_id(node_id), reason=str(error))
            progress.give_up(node_id)

    async def _gather(self, progress: Progress) -> None:
        """Until every cell has reported its last iteration, or all that still could are silent."""
        while progress.waiting - progress.lost:
            progress.news.clear()
            try:
                async with asyncio.timeout(SILENCE_S):
                    await progress.news.wait()
            except TimeoutError:
                return

    def _reported(self, sender: NodeId, report: CellReport) -> None:
        progress = self._progress.get(report.run_id)
        if progress is not None:
            progress.take(sender, report)


class GridJob(Job):
    """One task on the grid, as a kind of run."""

    def __init__(self, home: GridHome, task: Task) -> None:
        self._home = home
        self._task = task

    def info(self) -> TaskInfo:
        return TaskInfo(self._task.name, self._task.description, PARAMS)

    async def carry_out(self, run: Run) -> None:
        await self._home.carry_out(run, self._task)
