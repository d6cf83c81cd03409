"""The cells that live on this node, of runs started here or elsewhere.

A plan (`CellStart`) says who hosts which cell; a message counts only from the node that hosts its sender. A plan of a higher epoch moves
the cells of a lost node. All cells of one run here share a workshop (child processes), settings, and one batch of the brain. Bounded:
runs, cells, and by the cells' own deadlines time. Nothing outlives the run but a few messages that came early or late.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from node.brains.base import Ask, Choice, Proposal
from node.cells.cell import Cell, Mouth, Settings
from node.cells.choosers import Chooser
from node.cells.minds import Faculties, Shared, make_chooser
from node.cells.post import Post
from node.runtime import Runtime
from node.tasks.registry import is_path, make_task, shipped_tasks
from node.tasks.workshop import Children, Inline, TaskFailed, Workshop
from protocol.errors import InvalidRequest, Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import CellControl, CellMessage, CellReport, CellStart, Done

MAX_RUNS = 16
MAX_CELLS = 2_048
"""Cells hosted at once, of all runs."""
MAX_ITERATIONS = 10_000
MAX_SECONDS = 86_400
MAX_EARLY = 2_048
"""Messages kept for runs whose plan has not come yet: a neighbour's host may have been told first."""
MAX_CORES = 16

Minds = Callable[[str, Sequence[Ask]], Awaitable[list[Choice]]]
"""`choose(brain, asks)`; the brain's name may be a beginning. Raises `UserError` when there is none."""


Pens = Callable[[str, Sequence[Ask]], Awaitable[list[Proposal]]]
"""`write(brain, asks)`: the same for whole solutions in words."""


async def _no_pens(brain: str, asks: Sequence[Ask]) -> list[Proposal]:
    raise TaskFailed("This node has no brain that writes: start it with --brain gemma.")


async def _no_minds(brain: str, asks: Sequence[Ask]) -> list[Choice]:
    raise TaskFailed("This node has no brain that chooses: start it with --brain gemma, or use another chooser.")


class _Hosted:
    """The cells of one run that live here."""

    def __init__(self, runtime: Runtime, home: NodeId, plan: CellStart, workshop: Workshop) -> None:
        self.home = home
        self.plan = plan
        self.workshop = workshop
        self.settings = Settings(plan)
        self.shared = Shared(runtime)
        self.cells: dict[int, Cell] = {}


class CellHost:
    """`run` it in the daemon's TaskGroup; before that every plan is refused."""

    def __init__(
        self, runtime: Runtime, me: NodeId, post: Post, minds: Minds = _no_minds, cores: int = 0, *, pens: Pens = _no_pens
    ) -> None:
        """`cores`: child processes of one run; 0 for as many as the machine has."""
        self._runtime = runtime
        self._me = me
        self._post = post
        self._minds = minds
        self._pens = pens
        self._cores = cores or min(MAX_CORES, os.cpu_count() or 1)
        self._runs: dict[bytes, _Hosted] = {}
        self._early: deque[tuple[NodeId, CellMessage]] = deque(maxlen=MAX_EARLY)
        self._tasks: asyncio.TaskGroup | None = None
        post.courier.on(CellStart, self._asked)
        post.on(CellMessage, self._heard)
        post.on(CellControl, self._controlled)

    async def run(self) -> None:
        """Own the cells' tasks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def start(self, home: NodeId, plan: CellStart) -> None:
        """Let this node's cells of a run begin; a plan repeated changes nothing. Raises `Refused` with the reason."""
        hosted = self._runs.get(plan.run_id)
        if hosted is not None and hosted.home != home:
            raise Refused("conflict", "another node's run has this id")
        if hosted is not None and plan.epoch <= hosted.plan.epoch:
            return
        mine = self._mine(home, plan)
        if self._tasks is None:
            raise Refused("busy", "this node is not ready")
        fresh = [number for number in mine if not plan.epoch or number in plan.resumed]
        if hosted is None and not fresh:
            return
        if hosted is None:
            hosted = self._runs[plan.run_id] = _Hosted(self._runtime, home, plan, self._workshop(plan))
        hosted.plan = plan
        cells = {number: self._cell(hosted, plan, number) for number in fresh}
        hosted.cells |= cells
        hosted.settings.share = 0.9 * min(hosted.workshop.cores, len(hosted.cells)) / len(hosted.cells)
        for number, cell in cells.items():
            self._tasks.create_task(self._live(plan.run_id, number, cell), name=f"cell {number} of {show_id(plan.run_id)[:8]}")
        early, self._early = self._early, deque(maxlen=MAX_EARLY)
        for sender, message in early:
            self._heard(sender, message)

    async def _asked(self, peer: Member, plan: CellStart) -> Done:
        self.start(peer.node_id, plan)
        return Done()

    def _mine(self, home: NodeId, plan: CellStart) -> list[int]:
        """The cells this plan gives to this node, the plan checked. Raises `Refused`."""
        mine = [number for number, node_id in enumerate(plan.placement) if node_id == self._me]
        if is_path(plan.task) and home != self._me:
            raise Refused("foreign", "a peer's task file is not run here: there is no sandbox yet")
        if not is_path(plan.task) and plan.task not in shipped_tasks():
            raise Refused("unknown", f"this node knows no task '{plan.task}': it knows {', '.join(sorted(shipped_tasks()))}")
        if len(plan.placement) != plan.size**2 or plan.iterations > MAX_ITERATIONS or not mine:
            raise Refused("plan", "the plan does not fit its grid, is too long, or has no cell for this node")
        there = sum(len(hosted.cells) for run_id, hosted in self._runs.items() if run_id != plan.run_id)
        if (plan.run_id not in self._runs and len(self._runs) >= MAX_RUNS) or there + len(mine) > MAX_CELLS:
            raise Refused("busy", "this node hosts as many cells as it can")
        return mine

    def _workshop(self, plan: CellStart) -> Workshop:
        """Raises `Refused` when the parameters are not the task's."""
        if is_path(plan.task):
            return Children(plan.task, plan.settings, self._cores)
        try:
            task = make_task(plan.task, plan.settings)
        except InvalidRequest as error:
            raise Refused("plan", str(error)[:500]) from error
        if not task.heavy:
            return Inline(task)
        children = Children(plan.task, task.values, self._cores)
        children.moves, children.spoken = tuple(task.moves()), task.spoken
        return children

    def _cell(self, hosted: _Hosted, plan: CellStart, number: int) -> Cell:
        mouth = Mouth(self._say, self._report)
        return Cell(self._runtime, plan, number, hosted.workshop, hosted.settings, self._chooser(hosted), mouth)

    def _chooser(self, hosted: _Hosted) -> Chooser:
        settings, workshop = hosted.settings, hosted.workshop
        brain = settings.word("brain", "")

        async def choose(asks: Sequence[Ask]) -> list[Choice]:
            return await self._minds(brain, asks)

        async def write(asks: Sequence[Ask]) -> list[Proposal]:
            return await self._pens(brain, asks)

        given = Faculties(brain, workshop.moves, dict(workshop.spoken), choose, write, hosted.shared)
        return make_chooser(settings.word("chooser", "scripted"), settings.word("proposals", "moves"), given)

    async def _live(self, run_id: bytes, number: int, cell: Cell) -> None:
        hosted = self._runs[run_id]
        try:
            await cell.live()
        finally:
            del hosted.cells[number]
            if not hosted.cells:
                del self._runs[run_id]
                await hosted.workshop.close()

    def _say(self, message: CellMessage) -> None:
        hosted = self._runs.get(message.run_id)
        if hosted is not None:
            self._post.send(NodeId(hosted.plan.placement[message.receiver]), message)

    def _report(self, report: CellReport) -> None:
        self._post.send(self._runs[report.run_id].home, report)

    def _controlled(self, sender: NodeId, control: CellControl) -> None:
        """An order of the run's home."""
        hosted = self._runs.get(control.run_id)
        if hosted is not None and hosted.home == sender:
            hosted.settings.apply(control.state, control.settings)

    def _heard(self, sender: NodeId, message: CellMessage) -> None:
        """Pass a message on to its cell if it comes from the node that hosts its sender."""
        hosted = self._runs.get(message.run_id)
        if hosted is None:
            self._early.append((sender, message))
            return
        if message.iteration > MAX_ITERATIONS * 100 or message.sender >= len(hosted.plan.placement):
            return
        cell = hosted.cells.get(message.receiver)
        if cell is not None and hosted.plan.placement[message.sender] == sender:
            cell.hear(message)
