"""The cells that live on this node, of runs started here or elsewhere.

A plan (`CellStart`) says who hosts which cell; a message counts only from the node that hosts its sender. A plan of a higher epoch moves
cells here and away; one of a higher term comes from a new home, and the old one is not obeyed any more. All cells of one run here share a
workshop (child processes), settings, and one batch of the brain. Bounded: runs, cells, and by the cells' own deadlines time. Nothing
outlives the run but a few messages that came early or late.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from node.brains.base import Ask, Choice, Proposal
from node.cells.cell import Cell, Mouth, Settings
from node.cells.choosers import Chooser
from node.cells.grid import OVERLAY, overlay_graph
from node.cells.minds import Faculties, Shared, make_chooser
from node.cells.post import Post
from node.runs.claims import Claims
from node.runtime import Runtime
from node.tasks.registry import is_path, make_task, shipped_tasks
from node.tasks.workshop import Children, Inline, TaskFailed, Workshop
from protocol.errors import InvalidRequest, Refused
from protocol.identity import Member, NodeId, show_id
from protocol.messages import CellControl, CellMessage, CellReport, CellStart, Done, HostLinks

MAX_RUNS = 16
MAX_CELLS = 2_048
"""Cells hosted at once, of all runs."""
MAX_ITERATIONS = 10_000
MAX_SECONDS = 86_400
MAX_EARLY = 2_048
"""Messages kept for runs whose plan has not come yet: a neighbour's host may have been told first."""
MAX_CORES = 16
MAX_LINKS = 64
LINKS_S = 2.0
"""How often a home hears whether this node's neighbours in the overlay have changed, where it matters."""

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
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.links: list[NodeId] | None = None
        """What the home was told of this node's neighbours."""


class CellHost:
    """`run` it in the daemon's TaskGroup; before that every plan is refused."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        post: Post,
        minds: Minds = _no_minds,
        cores: int = 0,
        *,
        pens: Pens = _no_pens,
        claims: Claims | None = None,
        overlay: Callable[[], Sequence[NodeId]] = tuple,
    ) -> None:
        """`cores`: child processes of one run; 0 for as many as the machine has. `overlay` names this node's neighbours."""
        self._runtime = runtime
        self._me = me
        self._post = post
        self._minds = minds
        self._pens = pens
        self._claims = claims or Claims()
        self._overlay = overlay
        self.cores = cores or min(MAX_CORES, os.cpu_count() or 1)
        self._runs: dict[bytes, _Hosted] = {}
        self._early: deque[tuple[NodeId, CellMessage]] = deque(maxlen=MAX_EARLY)
        self._tasks: asyncio.TaskGroup | None = None
        post.courier.on(CellStart, self._asked)
        post.on(CellMessage, self._heard)
        post.on(CellControl, self._controlled)

    async def run(self) -> None:
        """Own the cells' tasks until cancelled, and tell homes that want to know who this node's neighbours are."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    await asyncio.sleep(LINKS_S)
                    for hosted in list(self._runs.values()):
                        await self._tell_links(hosted)
            finally:
                self._tasks = None

    def start(self, home: NodeId, plan: CellStart) -> None:
        """Let this node's cells of a run begin, go on elsewhere or come here; a plan repeated changes nothing. Raises `Refused`."""
        hosted = self._runs.get(plan.run_id)
        mine = self._mine(home, plan)
        if not self._claims.admit(plan.run_id, plan.term, home):
            raise Refused("fenced", "this run has a newer home")
        if hosted is not None and (plan.term, plan.epoch) <= (hosted.plan.term, hosted.plan.epoch) and hosted.home == home:
            return
        if self._tasks is None:
            raise Refused("busy", "this node is not ready")
        if hosted is not None and hosted.settings.stopped and plan.term > hosted.plan.term:
            self._abandon(hosted)  # an outranked home has stopped what the new one goes on with
            hosted = None
        there = hosted.cells if hosted is not None else {}
        anew = not plan.epoch and not plan.term
        fresh = [number for number in mine if number not in there and (anew or number in plan.resumed)]
        if hosted is None:
            if not fresh:
                return
            hosted = self._runs[plan.run_id] = _Hosted(self._runtime, home, plan, self._workshop(plan))
        hosted.home, hosted.plan = home, plan
        hosted.settings.values.update(plan.settings)
        self._draw(hosted)
        for number in sorted(set(hosted.tasks) - set(mine)):
            del hosted.cells[number]
            hosted.tasks.pop(number).cancel()
        for number in fresh:
            hosted.cells[number] = cell = self._cell(hosted, plan, number)
            name = f"cell {number} of {show_id(plan.run_id)[:8]}"
            hosted.tasks[number] = self._tasks.create_task(self._live(hosted, number, cell), name=name)
        hosted.settings.share = 0.9 * min(hosted.workshop.cores, len(hosted.cells)) / max(1, len(hosted.cells))
        self._tasks.create_task(self._tell_links(hosted), name="links of a host")
        early, self._early = self._early, deque(maxlen=MAX_EARLY)
        for sender, message in early:
            self._heard(sender, message)

    def _abandon(self, hosted: _Hosted) -> None:
        """These cells end now, unheard; their workshop is closed by the last of them."""
        del self._runs[hosted.plan.run_id]
        hosted.cells.clear()
        for task in hosted.tasks.values():
            task.cancel()

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
        gone = plan.run_id in self._runs or plan.epoch > 0
        if len(plan.placement) != plan.size**2 or plan.iterations > MAX_ITERATIONS or not (mine or gone):
            raise Refused("plan", "the plan does not fit its grid, is too long, or has no cell for this node")
        there = sum(len(hosted.cells) for run_id, hosted in self._runs.items() if run_id != plan.run_id)
        if (plan.run_id not in self._runs and len(self._runs) >= MAX_RUNS) or there + len(mine) > MAX_CELLS:
            raise Refused("busy", "this node hosts as many cells as it can")
        return mine

    def _workshop(self, plan: CellStart) -> Workshop:
        """Raises `Refused` when the parameters are not the task's."""
        if is_path(plan.task):
            return Children(plan.task, plan.settings, self.cores)
        try:
            task = make_task(plan.task, plan.settings)
        except InvalidRequest as error:
            raise Refused("plan", str(error)[:500]) from error
        if not task.heavy:
            return Inline(task)
        children = Children(plan.task, task.values, self.cores)
        children.moves, children.spoken = tuple(task.moves()), task.spoken
        return children

    def _cell(self, hosted: _Hosted, plan: CellStart, number: int) -> Cell:
        mouth = Mouth(self._say, self._report)
        plan = msgspec.structs.replace(plan, iteration=plan.reached.get(number, plan.iteration))
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

    async def _live(self, hosted: _Hosted, number: int, cell: Cell) -> None:
        try:
            await cell.live()
        finally:
            if hosted.cells.get(number) is cell:
                del hosted.cells[number], hosted.tasks[number]
            if not hosted.cells:
                if self._runs.get(hosted.plan.run_id) is hosted:
                    del self._runs[hosted.plan.run_id]
                await hosted.workshop.close()

    def _say(self, message: CellMessage) -> None:
        hosted = self._runs.get(message.run_id)
        if hosted is not None:
            self._post.send(NodeId(hosted.plan.placement[message.receiver]), message)

    def _report(self, report: CellReport) -> None:
        hosted = self._runs.get(report.run_id)
        if hosted is not None:
            self._post.send(hosted.home, report)

    def _controlled(self, sender: NodeId, control: CellControl) -> None:
        """An order of the run's home; of one that was outranked it means nothing."""
        hosted = self._runs.get(control.run_id)
        if hosted is not None and hosted.home == sender and control.term == hosted.plan.term:
            hosted.settings.apply(control.state, control.settings)
            self._draw(hosted)

    def _draw(self, hosted: _Hosted) -> None:
        """The graph that the cells see under the topology `overlay`."""
        if hosted.settings.word("topology", "") == OVERLAY:
            hosted.settings.graph = overlay_graph(hosted.plan.placement, hosted.plan.links)

    async def _tell_links(self, hosted: _Hosted) -> None:
        if hosted.settings.word("topology", "") == OVERLAY and (links := sorted(self._overlay())[:MAX_LINKS]) != hosted.links:
            hosted.links = links
            await self._post.tell(hosted.home, HostLinks(hosted.plan.run_id, list(links)))

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
