"""The home of a grid run: it places the cells, tells their hosts, and gathers reports. It hears no cell message.

When a host dies its cells are placed anew, and when a node comes it is given those that rendezvous hashing says: either goes on from its
newest report, which costs it at most the iteration it was in. When the home dies another node goes on from its checkpoint
(`node.runs.succession`): cells stay where they are, hosts learn of the new home, and cells that nobody has any more begin where the
checkpoint says. A home that was outranked meanwhile steps down and hosts what the new one gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from node.cells.grid import OVERLAY
from node.cells.host import CellHost
from node.cells.job import GridJob
from node.cells.post import Post
from node.cells.progress import Progress
from node.cells.results import sum_up
from node.runs.claims import Claims
from node.runs.run import Run, Snapshot, State, TakenOver, Value
from node.runtime import Runtime
from node.tasks.base import Task
from node.tasks.registry import is_path
from node.tasks.workshop import Children, Inline, TaskFailed, Workshop
from protocol.checkpoints import GridState, check_grid, pack, unpack
from protocol.errors import InvalidRequest, Malformed, NotAvailable, PeerError, Refused
from protocol.identity import NodeId, show_id
from protocol.messages import CellControl, CellReport, CellStart, HostLinks
from protocol.placement import moved, place

START_S = 5.0
"""Wait for a host to take its cells."""
SILENCE_S = 8.0
"""A run of a light task ends when no report has come for this long: longer than a cell waits for neighbours that are gone."""
HEAVY_SILENCE_S = 900.0
"""The same for tasks whose cells compute, perhaps with a model: a dead node is noticed by the overlay long before."""
TELL_S = 0.5
"""Whoever watches is told of progress as often."""
LOOK_S = 2.0
"""How often the home looks for hosts that died and nodes that came."""
MAX_PAIRS = 1_024

log = structlog.get_logger("cells")


@dataclass(slots=True)
class _Seen:
    """The swarm as the home last looked at it."""

    nodes: set[NodeId]
    settled: set[NodeId]
    """Nodes that have been offered their share of the cells."""


class GridHome:
    """Runs whose home is this node, and their progress."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        host: CellHost,
        post: Post,
        nodes: Callable[[], Mapping[NodeId, float]],
        claims: Claims | None = None,
    ) -> None:
        """`nodes`: the live nodes, this one included, and the capacity of each."""
        self._runtime = runtime
        self._me = me
        self._host = host
        self._post = post
        self._nodes = nodes
        self._claims = claims or Claims()
        self._progress: dict[bytes, Progress] = {}
        post.on(CellReport, self._reported)
        post.on(HostLinks, self._linked)
        self._claims.watch(self._outranked)

    def jobs(self, tasks: Mapping[str, type[Task]]) -> list[GridJob]:
        """What to register with the run manager."""
        return [GridJob(self.carry_out, task.name, task) for task in tasks.values()]

    def file_job(self, path: str) -> GridJob:
        """A task from a file of this machine. Raises `InvalidRequest` when there is none."""
        if not Path(path).is_absolute() or not Path(path).is_file():
            raise InvalidRequest(f"There is no task file {path} on the node's machine.", param="task")
        return GridJob(self.carry_out, path, None)

    async def carry_out(self, run: Run, task: type[Task] | None) -> None:
        """Place, start, gather. Raises `NotAvailable` when no cell answered, `TaskFailed` when the task did, `TakenOver`."""
        workshop = self._workshop(run, task)
        progress = self._progress[run.run_id] = await self._begin(run, task, workshop)
        before = () if not run.saved else unpack(run.saved, GridState).plan.placement
        run.iterations = progress.infos
        run.on_order = lambda state, values: self._order(progress, state, values)
        if task is not None:
            run.snapshot = lambda: Snapshot(progress.iteration, pack(progress.snapshot()))
        run.unsaved.set()
        try:
            await workshop.open()
            async with asyncio.TaskGroup() as starting:
                self._send_plan(run, progress, starting, before)
                await self._gather(run, progress, task is None or task.heavy)
            if progress.successor is not None:
                raise TakenOver(
                    f"Node {show_id(progress.successor)} has taken this run over: ask it. What was found on this side meanwhile is lost."
                )
            run.detail = run.detail or progress.silent()
            if not progress.infos():
                if run.stopping:
                    return
                if progress.failure:
                    raise TaskFailed(progress.failure)
                raise NotAvailable(f"No cell of this run answered: {run.detail}.")
            run.progress.fraction = 1.0
            await sum_up(run, progress, workshop)
        finally:
            run.on_order = lambda state, values: None
            if progress.successor is None:  # else the cells are another's to order about
                self._order(progress, "stopped", {})
            del self._progress[run.run_id]
            await workshop.close()

    def _workshop(self, run: Run, task: type[Task] | None) -> Workshop:
        """The home's own, to check and to render what cells report."""
        if task is None or task.heavy:
            return Children(run.task, run.params, 1)
        return Inline(task({name: run.params[name] for name in task.params}))

    async def _begin(self, run: Run, task: type[Task] | None, workshop: Workshop) -> Progress:
        """A run's start, or where another home left off. Raises `NotAvailable` when that is no sound state."""
        if not run.saved:
            self._claims.admit(run.run_id, run.term, self._me)
            return Progress(await self._plan(run, task), workshop, run.progress)
        try:
            saved = unpack(run.saved, GridState)
            check_grid(saved)
        except Malformed as error:
            raise NotAvailable(f"The checkpoint of this run cannot be used: {error}.") from error
        if (saved.plan.run_id, saved.plan.task) != (run.run_id, run.task):
            raise NotAvailable("The checkpoint of this run cannot be used: its grid is another run's.")
        progress = Progress(saved.plan, workshop, run.progress, saved)
        moves = moved(run.run_id, saved.plan.placement, self._living(), ())
        self._replace(run, progress, moves, () if run.stopping else progress.waiting, run.term)
        return progress

    async def _plan(self, run: Run, task: type[Task] | None) -> CellStart:
        size, iterations = int(run.params["size"]), int(run.params["iterations"])
        nodes = {self._me: 1.0} if task is None else self._living()  # a file is run on its own machine only
        placement = await self._runtime.run_blocking(place, run.run_id, size * size, nodes)
        seed = int(run.params["seed"]) or self._runtime.random().getrandbits(31)
        settings = dict(run.params)
        heavy = task is None or task.heavy
        if heavy:
            seconds = float(run.params["seconds"])
            settings["patience"] = 600.0 if run.params["chooser"] in ("brain", "shuffled") else 10.0 + 3.0 * seconds / iterations
        return CellStart(run.run_id, run.task, seed, size, iterations, list(placement), settings)

    def _living(self) -> dict[NodeId, float]:
        """Live nodes and their capacity; this one whatever others say of it."""
        return {self._me: 1.0, **self._nodes()}

    # ---- placing ------------------------------------------------------------------------------------------------------

    def _send_plan(self, run: Run, progress: Progress, starting: asyncio.TaskGroup, also: Iterable[bytes] = ()) -> None:
        """Bring the plan to all hosts, and to those that were hosts until now."""
        if run.stopping and not run.term:  # stopped before it began
            progress.waiting.clear()
            return
        for node_id in dict.fromkeys([*progress.plan.placement, *also]):
            starting.create_task(self._start(NodeId(node_id), run, progress))

    async def _start(self, node_id: NodeId, run: Run, progress: Progress) -> None:
        plan = progress.plan
        part = {cell: solution for cell, solution in plan.resumed.items() if plan.placement[cell] == node_id}
        plan = msgspec.structs.replace(plan, resumed=part, reached={cell: plan.reached[cell] for cell in part})
        try:
            if node_id == self._me:
                self._host.start(self._me, plan)
            else:
                await self._post.courier.request(node_id, plan, START_S)
        except Refused as error:
            log.warning("a node did not take its cells", node=show_id(node_id), reason=str(error), code=error.code)
            if progress.plan.epoch == plan.epoch:
                progress.give_up(node_id)
        except PeerError as error:
            log.warning("a node did not take its cells", node=show_id(node_id), reason=str(error))
            if progress.plan.epoch == plan.epoch:
                progress.give_up(node_id)
        else:
            if run.state == "paused" or run.stopping:  # it may have been ordered before this host had its cells
                state: State = "stopped" if run.stopping else "paused"
                self._post.send(node_id, CellControl(plan.run_id, state, {}, plan.term))

    def _replace(self, run: Run, progress: Progress, moves: Mapping[int, NodeId], resumed: Iterable[int], term: int) -> None:
        """A new plan, with cells moved; cells of `resumed` go on from what they last reported, wherever they are."""
        old = progress.plan
        placement = [moves.get(cell, NodeId(host)) for cell, host in enumerate(old.placement)]
        known = {cell: progress.newest[cell] for cell in sorted(resumed) if cell in progress.newest}
        progress.move(msgspec.structs.replace(
            old, placement=list(placement), epoch=old.epoch + 1, term=term, elapsed=self._runtime.monotonic() - run.started_at,
            resumed={cell: known[cell].solution if cell in known else b"" for cell in sorted(resumed)},
            reached={cell: known[cell].iteration if cell in known else 0 for cell in sorted(resumed)},
        ))  # fmt: skip

    def _settle(self, run: Run, progress: Progress, seen: _Seen, starting: asyncio.TaskGroup) -> None:
        """Move the cells of nodes that went at once, and those that a newcomer wins once the swarm has looked the same twice."""
        if is_path(progress.plan.task):
            return
        nodes, plan = self._living(), progress.plan
        there = {plan.placement[cell] for cell in progress.waiting}
        stable, seen.nodes = set(nodes) == seen.nodes, set(nodes)
        moves: dict[int, NodeId] = {}
        newcomers = seen.nodes - seen.settled if stable else set[NodeId]()
        if not there <= set(nodes) or (stable and seen.settled != seen.nodes):
            moves = moved(plan.run_id, plan.placement, nodes, newcomers)
            moves = {cell: node for cell, node in moves.items() if cell in progress.waiting}
            seen.settled = set(nodes) if stable else seen.settled & set(nodes)
        links = self._links(progress) if run.params.get("topology") == OVERLAY else list(plan.links)
        if moves or newcomers or links != plan.links:  # a newcomer may host cells of a home that was outranked: it is told
            before = [*plan.placement, *sorted(newcomers)]
            self._replace(run, progress, moves, moves, plan.term)
            progress.move(msgspec.structs.replace(progress.plan, links=links))
            run.unsaved.set()
            log.info("cells moved", count=len(moves))
            self._send_plan(run, progress, starting, before)

    def _links(self, progress: Progress) -> list[tuple[bytes, bytes]]:
        """Pairs of hosts that are neighbours in the overlay, as either of them says."""
        hosts = set(progress.plan.placement)
        pairs: set[tuple[bytes, bytes]] = {(min(one, other), max(one, other)) for one, near in progress.links.items() for other in near}
        return sorted((one, other) for one, other in pairs if one in hosts and other in hosts)[:MAX_PAIRS]

    # ---- gathering ----------------------------------------------------------------------------------------------------

    async def _gather(self, run: Run, progress: Progress, heavy: bool) -> None:
        """Until every cell has reported its end, or all that still could are silent."""
        clock = self._runtime.monotonic
        heard = told = looked = clock()
        seen = _Seen(set(self._living()), set(self._living()))
        async with asyncio.TaskGroup() as starting:
            while progress.waiting - progress.lost and progress.successor is None:
                progress.news.clear()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await progress.news.wait()
                    heard = clock()
                except TimeoutError:
                    if run.state == "paused" and not run.stopping:
                        heard = clock()
                    if clock() - heard >= (HEAVY_SILENCE_S if heavy and not run.stopping else SILENCE_S):
                        return
                if clock() - looked >= LOOK_S:
                    looked = clock()
                    if run.stopping:
                        progress.lost |= {cell for cell in progress.waiting if progress.plan.placement[cell] not in self._living()}
                    else:
                        self._settle(run, progress, seen, starting)
                run.progress.fraction = max(run.progress.fraction, min(0.999, self._fraction(run, progress)))
                if clock() - told >= TELL_S:
                    told = clock()
                    run.announce()

    def _fraction(self, run: Run, progress: Progress) -> float:
        done = sum(state.iteration for state in progress.newest.values())
        share = done / (int(run.params["iterations"]) * len(progress.plan.placement))
        seconds = float(run.params["seconds"])
        return min(share, (self._runtime.monotonic() - run.started_at) / seconds) if seconds else share

    def _order(self, progress: Progress, state: State, values: Mapping[str, Value]) -> None:
        """Tell every host."""
        plan = progress.plan
        if values:
            progress.move(msgspec.structs.replace(plan, settings={**plan.settings, **values}))
        for node_id in dict.fromkeys(plan.placement):
            self._post.send(NodeId(node_id), CellControl(plan.run_id, state, dict(values), plan.term))
        progress.news.set()

    def _reported(self, sender: NodeId, report: CellReport) -> None:
        progress = self._progress.get(report.run_id)
        if progress is not None:
            progress.take(sender, report)

    def _linked(self, sender: NodeId, links: HostLinks) -> None:
        progress = self._progress.get(links.run_id)
        if progress is not None and sender in progress.plan.placement:
            progress.links[sender] = tuple(NodeId(neighbour) for neighbour in links.neighbours)

    def _outranked(self, run_id: bytes, home: NodeId) -> None:
        """Another node is the home of this run now: step down."""
        progress = self._progress.get(run_id)
        if progress is not None and home != self._me:
            progress.successor = home
            progress.news.set()
