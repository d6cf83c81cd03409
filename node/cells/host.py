"""The cells that live on this node, of runs started here or elsewhere.

A plan (`CellStart`) says who hosts which cell; a message counts only from the node that hosts its sender. Bounded: runs, cells, and by
the cells' own deadlines time. Nothing outlives the run but a few messages that came early or late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from node.cells.cell import Cell
from node.cells.post import Post
from node.runtime import Runtime
from node.tasks.base import Task
from protocol.errors import Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import CellMessage, CellReport, CellStart, Done

MAX_RUNS = 16
MAX_CELLS = 2_048
"""Cells hosted at once, of all runs."""
MAX_ITERATIONS = 100
MAX_EARLY = 2_048
"""Messages kept for runs whose plan has not come yet: a neighbour's host may have been told first."""


class _Hosted:
    """The cells of one run that live here."""

    def __init__(self, home: NodeId, plan: CellStart) -> None:
        self.home = home
        self.plan = plan
        self.cells: dict[int, Cell] = {}


class CellHost:
    """`run` it in the daemon's TaskGroup; before that every plan is refused."""

    def __init__(self, runtime: Runtime, me: NodeId, post: Post, tasks: Mapping[str, Task]) -> None:
        self._runtime = runtime
        self._me = me
        self._post = post
        self._known = tasks
        self._runs: dict[bytes, _Hosted] = {}
        self._early: deque[tuple[NodeId, CellMessage]] = deque(maxlen=MAX_EARLY)
        self._tasks: asyncio.TaskGroup | None = None
        post.courier.on(CellStart, self._asked)
        post.on(CellMessage, self._heard)

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
        if (hosted := self._runs.get(plan.run_id)) is not None:
            if hosted.home != home:
                raise Refused("conflict", "another node's run has this id")
            return
        mine = self._mine(plan)
        if self._tasks is None:
            raise Refused("busy", "this node is not ready")
        hosted = self._runs[plan.run_id] = _Hosted(home, plan)
        task = self._known[plan.task]
        for number in mine:
            hosted.cells[number] = Cell(self._runtime, plan, number, task, self._say, self._report)
        for number, cell in hosted.cells.items():
            self._tasks.create_task(self._live(plan.run_id, number, cell), name=f"cell {number} of {show_id(plan.run_id)[:8]}")
        early, self._early = self._early, deque(maxlen=MAX_EARLY)
        for sender, message in early:
            self._heard(sender, message)

    async def _asked(self, peer: Member, plan: CellStart) -> Done:
        self.start(peer.node_id, plan)
        return Done()

    def _mine(self, plan: CellStart) -> list[int]:
        """The cells this plan gives to this node, the plan checked. Raises `Refused`."""
        mine = [number for number, node_id in enumerate(plan.placement) if node_id == self._me]
        if plan.task not in self._known:
            raise Refused("unknown", f"this node knows no task '{plan.task}': it knows {', '.join(sorted(self._known))}")
        if len(plan.placement) != plan.size**2 or plan.iterations > MAX_ITERATIONS or not mine:
            raise Refused("plan", "the plan does not fit its grid, is too long, or has no cell for this node")
        if len(self._runs) >= MAX_RUNS or sum(len(hosted.cells) for hosted in self._runs.values()) + len(mine) > MAX_CELLS:
            raise Refused("busy", "this node hosts as many cells as it can")
        return mine

    async def _live(self, run_id: bytes, number: int, cell: Cell) -> None:
        hosted = self._runs[run_id]
        try:
            await cell.live()
        finally:
            del hosted.cells[number]
            if not hosted.cells:
                del self._runs[run_id]

    def _say(self, message: CellMessage) -> None:
        plan = self._runs[message.run_id].plan
        self._post.send(NodeId(plan.placement[message.receiver]), message)

    def _report(self, report: CellReport) -> None:
        self._post.send(self._runs[report.run_id].home, report)

    def _heard(self, sender: NodeId, message: CellMessage) -> None:
        """Pass a message on to its cell if it comes from the node that hosts its sender."""
        hosted = self._runs.get(message.run_id)
        if hosted is None:
            self._early.append((sender, message))
            return
        if message.iteration > hosted.plan.iterations or message.sender >= len(hosted.plan.placement):
            return
        cell = hosted.cells.get(message.receiver)
        if cell is not None and hosted.plan.placement[message.sender] == sender:
            cell.hear(message)
