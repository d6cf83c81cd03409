"""The node where a grid run was started: it places the cells, tells their hosts, and gathers reports. It hears no cell message.

When a host dies its cells are placed anew and go on from their newest report: that costs them at most the iteration they were in.
First form: the home itself is not replaced when it dies; its run ends with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog

from node.cells.choosers import CHOOSERS
from node.cells.grid import TOPOLOGIES, place
from node.cells.host import MAX_ITERATIONS, MAX_SECONDS, CellHost
from node.cells.pictures import draw
from node.cells.post import Post
from node.cells.progress import Progress
from node.runs.run import Job, Run, State, Value
from node.runtime import Runtime
from node.tasks.base import Param, Task
from node.tasks.registry import checked_values
from node.tasks.workshop import Children, Inline, TaskFailed, Workshop
from protocol.api import TaskInfo
from protocol.errors import InvalidRequest, NotAvailable, PeerError
from protocol.identity import NodeId, show_id
from protocol.messages import CellControl, CellReport, CellStart

START_S = 5.0
"""Wait for a host to take its cells."""
SILENCE_S = 8.0
"""A run of a light task ends when no report has come for this long: longer than a cell waits for neighbours that are gone."""
HEAVY_SILENCE_S = 900.0
"""The same for tasks whose cells compute, perhaps with a model: a dead node is noticed by the overlay long before."""
TELL_S = 0.5
"""Whoever watches is told of progress as often."""
LOOK_S = 2.0
"""How often the home looks for hosts that died."""

PARAMS: dict[str, Param] = {
    "size": Param(3, 1, 32),
    "iterations": Param(1, 1, MAX_ITERATIONS),
    "seconds": Param(0.0, 0.0, MAX_SECONDS, 0.1, live=True),
    "turns": Param(1, 1, 256, live=True),
    "rounds": Param(1, 1, 16, live=True),
    "topology": Param("neumann", choices=TOPOLOGIES, live=True),
    "update": Param("synchronous", choices=("synchronous", "asynchronous"), live=True),
    "staleness": Param(4, 0, 1_000, live=True),
    "chooser": Param("scripted", choices=CHOOSERS),
    "brain": Param(""),
    "seed": Param(0, 0, 2**31 - 1),
    "pictures": Param("yes", choices=("yes", "no")),
}
"""Of every grid run, beside the task's own. `seconds` 0: iterations count; `seed` 0: any; `turns`: proposals an iteration,
`rounds`: in how many goes (a mind looks at the outcome of one before it chooses the next)."""
log = structlog.get_logger("cells")


class GridHome:
    """Runs started on this node, and their progress."""

    def __init__(self, runtime: Runtime, me: NodeId, host: CellHost, post: Post, nodes: Callable[[], list[NodeId]]) -> None:
        """`nodes` names the live nodes, this one included."""
        self._runtime = runtime
        self._me = me
        self._host = host
        self._post = post
        self._nodes = nodes
        self._progress: dict[bytes, Progress] = {}
        post.on(CellReport, self._reported)

    def jobs(self, tasks: Mapping[str, type[Task]]) -> list[GridJob]:
        """What to register with the run manager."""
        return [GridJob(self, task.name, task) for task in tasks.values()]

    def file_job(self, path: str) -> GridJob:
        """A task from a file of this machine. Raises `InvalidRequest` when there is none."""
        if not Path(path).is_absolute() or not Path(path).is_file():
            raise InvalidRequest(f"There is no task file {path} on the node's machine.", param="task")
        return GridJob(self, path, None)

    async def carry_out(self, run: Run, task: type[Task] | None) -> None:
        """Place, start, gather. Raises `NotAvailable` when no cell answered, `TaskFailed` when the task did."""
        workshop = self._workshop(run, task)
        plan = await self._plan(run, task)
        progress = self._progress[run.run_id] = Progress(plan, workshop, run.progress)
        run.iterations = progress.infos
        run.on_order = lambda state, values: self._order(progress, state, values)
        try:
            await workshop.open()
            async with asyncio.TaskGroup() as starting:
                for node_id in dict.fromkeys(plan.placement):
                    starting.create_task(self._start(NodeId(node_id), plan, progress))
                await self._gather(run, progress, HEAVY_SILENCE_S if task is None or task.heavy else SILENCE_S)
            run.detail = run.detail or progress.silent()
            if not progress.infos():
                if progress.failure:
                    raise TaskFailed(progress.failure)
                raise NotAvailable(f"No cell of this run answered: {run.detail}.")
            run.progress.fraction = 1.0
            await self._sum_up(run, progress, workshop)
        finally:
            run.on_order = lambda state, values: None
            self._order(progress, "stopped", {})
            del self._progress[run.run_id]
            await workshop.close()

    def _workshop(self, run: Run, task: type[Task] | None) -> Workshop:
        """The home's own, to check and to render what cells report."""
        if task is None or task.heavy:
            return Children(run.task, run.params, 1)
        return Inline(task({name: run.params[name] for name in task.params}))

    async def _plan(self, run: Run, task: type[Task] | None) -> CellStart:
        size, iterations = int(run.params["size"]), int(run.params["iterations"])
        nodes = [self._me] if task is None else self._nodes() or [self._me]  # a file is run on its own machine only
        placement = await self._runtime.run_blocking(place, run.run_id, size * size, nodes)
        seed = int(run.params["seed"]) or self._runtime.random().getrandbits(31)
        settings = dict(run.params)
        heavy = task is None or task.heavy
        if heavy:
            seconds = float(run.params["seconds"])
            settings["patience"] = 600.0 if run.params["chooser"] in ("brain", "shuffled") else 10.0 + 3.0 * seconds / iterations
        return CellStart(run.run_id, run.task, seed, size, iterations, list(placement), settings)

    async def _start(self, node_id: NodeId, plan: CellStart, progress: Progress) -> None:
        try:
            if node_id == self._me:
                self._host.start(self._me, plan)
            else:
                await self._post.courier.request(node_id, plan, START_S)
        except PeerError as error:
            log.warning("a node did not take its cells", node=show_id(node_id), reason=str(error))
            progress.give_up(node_id)

    async def _gather(self, run: Run, progress: Progress, silence_s: float) -> None:
        """Until every cell has reported its end, or all that still could are silent."""
        clock = self._runtime.monotonic
        heard = told = clock()
        while progress.waiting - progress.lost:
            progress.news.clear()
            try:
                async with asyncio.timeout(LOOK_S):
                    await progress.news.wait()
                heard = clock()
            except TimeoutError:
                if run.state == "paused":
                    heard = clock()
                if clock() - heard >= silence_s:
                    return
                if silence_s > SILENCE_S:
                    await self._rescue(progress)
            run.progress.fraction = min(0.999, self._fraction(run, progress))
            if clock() - told >= TELL_S:
                told = clock()
                run.announce()

    def _fraction(self, run: Run, progress: Progress) -> float:
        done = sum(iteration for iteration, _ in progress.newest.values())
        share = done / (int(run.params["iterations"]) * len(progress.plan.placement))
        seconds = float(run.params["seconds"])
        return min(share, (self._runtime.monotonic() - run.started_at) / seconds) if seconds else share

    async def _rescue(self, progress: Progress) -> None:
        """Give the cells of dead nodes to living ones, to go on from what they last reported."""
        living = set(self._nodes()) | {self._me}
        orphans = progress.orphans(living)
        if not orphans:
            return
        old = progress.plan
        fresh = place(old.run_id, len(old.placement), sorted(living))
        placement = [NodeId(fresh[cell]) if cell in orphans else NodeId(host) for cell, host in enumerate(old.placement)]
        known = {cell: progress.newest[cell][1] for cell in sorted(orphans) if cell in progress.newest}
        resumed = {cell: known.get(cell, b"") for cell in sorted(orphans)}
        reached = min((iteration for cell, (iteration, _) in progress.newest.items() if cell in orphans), default=0)
        plan = msgspec.structs.replace(old, placement=placement, epoch=old.epoch + 1, iteration=reached, resumed=resumed)
        progress.move(plan)
        log.info("cells moved", count=len(orphans))
        async with asyncio.TaskGroup() as starting:
            for node_id in dict.fromkeys(placement):
                starting.create_task(self._start(node_id, plan, progress))

    def _order(self, progress: Progress, state: State, values: Mapping[str, Value]) -> None:
        """Tell every host."""
        plan = progress.plan
        if values:
            progress.move(msgspec.structs.replace(plan, settings={**plan.settings, **values}))
        for node_id in dict.fromkeys(plan.placement):
            self._post.send(NodeId(node_id), CellControl(plan.run_id, state, dict(values)))

    async def _sum_up(self, run: Run, progress: Progress, workshop: Workshop) -> None:
        """The best solutions, rendered and drawn; each is evaluated again here, whoever reported it."""
        rendered: list[tuple[float, str]] = []
        for solution in list(progress.best.values()):
            score = await workshop.check(solution)
            if score > 0.0 or not rendered:
                rendered.append((score, await workshop.render(solution)))
        rendered.sort(key=lambda item: -item[0])
        run.progress.solution = rendered[0][1]
        iterations = progress.infos()
        if isinstance(workshop, Inline):
            return
        run.progress.best = rendered[0][0]
        run.keep("best.json", (rendered[0][1] + "\n").encode())
        lines = [f"{score:.17g}\t{text}" for score, text in rendered]
        run.keep("solutions.txt", ("\n".join(lines) + "\n").encode())
        rows = ["iteration,worst,mean,best", *(f"{one.iteration},{one.worst!r},{one.mean!r},{one.best!r}" for one in iterations)]
        run.keep("scores.csv", ("\n".join(rows) + "\n").encode())
        if run.params["pictures"] == "no":
            return
        try:
            for name, content in (await draw(int(run.params["size"]), iterations, rendered)).items():
                run.keep(name, content)
        except NotAvailable as error:
            run.detail = run.detail or str(error)

    def _reported(self, sender: NodeId, report: CellReport) -> None:
        progress = self._progress.get(report.run_id)
        if progress is not None:
            progress.take(sender, report)


class GridJob(Job):
    """One task on the grid, as a kind of run."""

    def __init__(self, home: GridHome, name: str, task: type[Task] | None) -> None:
        """`task` None: a file, which only a child process opens; it has no parameters of its own."""
        self._home = home
        self._name = name
        self._task = task
        self._params = {**PARAMS, **(task.params if task is not None else {})}

    def info(self) -> TaskInfo:
        described: dict[str, dict[str, int | float | str | bool | list[str]]] = {}
        for name, param in self._params.items():
            described[name] = {"default": param.default, "live": param.live}
            if param.choices:
                described[name]["choices"] = list(param.choices)
            elif not isinstance(param.default, str):
                described[name] |= {"low": param.low, "high": param.high, "step": param.step}
        return TaskInfo(self._name, self._task.description if self._task is not None else "A task from a file.", described)

    def check(self, params: Mapping[str, Value]) -> dict[str, Value]:
        return checked_values(params, self._params, self._name)

    def live(self) -> frozenset[str]:
        return frozenset(name for name, param in self._params.items() if param.live)

    async def carry_out(self, run: Run) -> None:
        await self._home.carry_out(run, self._task)
