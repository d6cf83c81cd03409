"""Starts runs, owns their tasks, answers what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from node.runs.run import OVER, Job, Progress, Run, State, TakenOver
from node.runtime import Runtime
from protocol.api.runs import ArtifactInfo, RunEdit, RunInfo, RunRequest, TaskInfo
from protocol.checkpoints import STOPPING, RunState
from protocol.errors import Conflict, InvalidRequest, NotAvailable, NotFound, UserError
from protocol.identity import ID_BYTES, NodeId, parse_id, show_id

MAX_RUNS = 16
"""Runs kept, finished ones included; the oldest finished one makes room."""
MAX_ADOPTED = MAX_RUNS // 2
"""Runs of lost homes that go on here at once: a member that makes them up does not keep this node's own from starting."""
STOPPED = "stopped on request"
KEEP_S = 3_600.0
"""A run is forgotten this long after its end, when another one starts."""
ORDERED = {"paused": "paused", "running": "resumed", "stopped": "stopped"}
"""Order -> what people call it."""

OnEvent = Callable[[Mapping[str, str | float | int | bool | None]], None]
"""Told of every change of state: run_id, task, state, detail."""
log = structlog.get_logger("runs")


class RunManager:
    """Every run of this node. `run` it in the daemon's TaskGroup."""

    def __init__(self, runtime: Runtime, on_event: OnEvent = lambda data: None) -> None:
        self._runtime = runtime
        self._on_event = on_event
        self._jobs: dict[str, Job] = {}
        self._by_path: Callable[[str], Job] | None = None
        self._runs: dict[bytes, Run] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.guard: Callable[[Run], Coroutine[Any, Any, None]] | None = None
        """Looks after a run from beside, until it is over (`succession`)."""
        self.whereabouts: Callable[[bytes], NodeId | None] = lambda run_id: None
        """The home of a run of another node, as far as this one has heard."""

    def register(self, job: Job) -> None:
        """From now on this kind of run can be started."""
        self._jobs[job.info().name] = job

    def register_files(self, make: Callable[[str], Job]) -> None:
        """From now on a task may be named by the absolute path of its file."""
        self._by_path = make

    async def run(self) -> None:
        """Own the runs' tasks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    async def start(self, request: RunRequest) -> RunInfo:
        """Begin a run and return at once. Raises `InvalidRequest` for an unknown task or parameter, `NotAvailable` when too much runs."""
        job = self._job(request.task)
        params = job.check(request.params)
        self._make_room()
        if self._tasks is None:
            raise NotAvailable("This node is not ready to start runs: ask again in a moment.")
        run = Run(self._runtime.token_bytes(ID_BYTES), request.task, params, self._runtime.monotonic())
        self._begin(job, run, self._tasks)
        return run.info(self._runtime.monotonic())

    def adopt(self, state: RunState, term: int) -> None:
        """Go on with a run whose home was lost. Raises `InvalidRequest` when it cannot be done here, `NotAvailable` when too much runs."""
        if state.task not in self._jobs:  # never a file: its name comes from a peer, and it would be this machine's that is run
            raise InvalidRequest(f"This node goes on with no run of '{state.task}'.", param="task")
        job = self._jobs[state.task]
        params = job.check(state.params)
        before = self._runs.get(state.run_id)
        if before is not None and before.state not in OVER:
            raise Conflict(f"Run {show_id(state.run_id)} is under way on this node.")
        if sum(run.term > 0 and run.state not in OVER for run in self._runs.values()) >= MAX_ADOPTED:
            raise NotAvailable(f"{MAX_ADOPTED} runs of other nodes go on here already.")
        if before is None:
            self._make_room()
        if self._tasks is None:
            raise NotAvailable("This node is not ready to go on with runs.")
        run = Run(state.run_id, state.task, params, self._runtime.monotonic() - state.elapsed)
        run.term, run.saved = term, state.body
        run.progress = Progress(0.0, state.best, "", state.tried)
        run.stopping = state.state == STOPPING
        run.detail = STOPPED if run.stopping else ""
        self._runs.pop(run.run_id, None)
        self._begin(job, run, self._tasks, "paused" if state.state == "paused" else "running")

    def _begin(self, job: Job, run: Run, tasks: asyncio.TaskGroup, state: State = "running") -> None:
        run.announce = lambda: self._tell(run)
        self._runs[run.run_id] = run
        tasks.create_task(self._carry_out(job, run, state), name=f"run {show_id(run.run_id)[:8]}")

    def _job(self, task: str) -> Job:
        job = self._jobs.get(task)
        if job is None and self._by_path is not None and task.endswith(".py"):
            return self._by_path(task)
        if job is None:
            raise InvalidRequest(f"There is no task '{task}': there is {', '.join(sorted(self._jobs)) or 'none'}.", param="task")
        return job

    def order(self, id: str, state: State) -> RunInfo:  # noqa: A002 - the name users see
        """Pause, go on (`running`) or stop. Raises `Conflict` when the run is over, `NotFound`."""
        run = self._find(id)
        if run.state in OVER or (run.state == "pending" and state != "stopped"):
            raise Conflict(f"Run {id} is {run.state}: only a run under way can be {ORDERED[state]}.")
        if run.stopping and state != "stopped":
            raise Conflict(f"Run {id} is being stopped: it cannot be {ORDERED[state]} any more.")
        if state == "stopped":  # it still has to gather what its cells have
            run.stopping, run.detail = True, STOPPED
        run.on_order(state, {})
        if state != "stopped":
            self._change(run, state)
        run.unsaved.set()
        return run.info(self._runtime.monotonic())

    def edit(self, id: str, edit: RunEdit) -> RunInfo:  # noqa: A002 - the name users see
        """New values of live parameters. Raises `InvalidRequest` for others and for values out of range; the run goes on unchanged."""
        run = self._find(id)
        job = self._job(run.task)
        for name in edit.params:
            if name not in job.live():
                live = ", ".join(sorted(job.live()))
                raise InvalidRequest(f"'{name}' cannot be changed while the run goes on: these can: {live}.", param=name)
        values = job.check({**run.params, **edit.params})
        if run.state in OVER:
            raise Conflict(f"Run {id} is {run.state}: nothing can be changed any more.")
        run.params.update(values)
        run.on_order(run.state, {name: values[name] for name in edit.params})
        run.unsaved.set()
        return run.info(self._runtime.monotonic())

    def artifacts(self, id: str) -> list[ArtifactInfo]:  # noqa: A002 - the name users see
        run = self._find(id)
        return [ArtifactInfo(name, len(content), media_of(name)) for name, content in sorted(run.artifacts.items())]

    def artifact(self, id: str, name: str) -> bytes:  # noqa: A002 - the name users see
        """Raises `NotFound`."""
        content = self._find(id).artifacts.get(name)
        if content is None:
            raise NotFound(f"Run {id} has no artifact '{name}'.")
        return content

    def get(self, id: str) -> RunInfo:  # noqa: A002 - the name users see
        """Raises `InvalidRequest` when it is no id, `NotFound` when there is no such run."""
        return self._find(id).info(self._runtime.monotonic())

    def _find(self, id: str) -> Run:  # noqa: A002 - the name users see
        run = self._runs.get(parse_id(id))
        if run is None:
            home = self.whereabouts(parse_id(id))
            where = f"its home is node {show_id(home)}: ask there" if home is not None else "runs are kept for an hour, at their home"
            raise NotFound(f"There is no run {id} on this node: {where}.")
        return run

    def tasks(self) -> list[TaskInfo]:
        """What can be started, with parameters."""
        return [self._jobs[name].info() for name in sorted(self._jobs)]

    def list(self) -> list[RunInfo]:
        """Newest first."""
        return [run.info(self._runtime.monotonic()) for run in reversed(self._runs.values())]

    async def _carry_out(self, job: Job, run: Run, state: State) -> None:
        self._change(run, state)
        guarding = self._tasks.create_task(self._guarded(run)) if self._tasks is not None else None
        try:
            await job.carry_out(run)
        except TakenOver as error:
            run.detail = str(error)
            self._change(run, "stopped")
        except UserError as error:
            run.detail = str(error)
            self._change(run, "failed")
        # Supervision boundary: a bug in one kind of run ends that run and not the daemon.
        except Exception as error:
            log.exception("a run failed", task=run.task)
            run.detail = f"internal error ({type(error).__name__}): the node's log says more"
            self._change(run, "failed")
        else:
            self._change(run, "stopped" if run.detail == STOPPED else "done")
        finally:
            run.unsaved.set()
            if guarding is not None:
                await guarding

    async def _guarded(self, run: Run) -> None:
        if self.guard is None:
            return
        try:
            await self.guard(run)
        # Supervision boundary: a bug in what saves runs costs the checkpoint and not the daemon.
        except Exception:
            log.exception("a run is not guarded any more", task=run.task)

    def _change(self, run: Run, state: State) -> None:
        run.state = state
        if state in OVER:
            run.ended_at = self._runtime.monotonic()
        self._tell(run)

    def _tell(self, run: Run) -> None:
        state = run.state
        self._on_event({"run_id": show_id(run.run_id), "task": run.task, "state": state, "detail": run.detail})

    def _make_room(self) -> None:
        """Forget what is old. Raises `NotAvailable` when everything kept still runs."""
        over = [run for run in self._runs.values() if run.state in OVER]
        expired = [run for run in over if self._runtime.monotonic() - run.ended_at > KEEP_S]
        if not expired and len(self._runs) >= MAX_RUNS:
            expired = over[:1]
            if not expired:
                raise NotAvailable(f"{MAX_RUNS} runs are under way on this node: wait for one to end, or ask another node.")
        for run in expired:
            del self._runs[run.run_id]


def media_of(name: str) -> str:
    """The media type of an artifact, from its name."""
    kinds = {"png": "image/png", "svg": "image/svg+xml", "json": "application/json", "csv": "text/csv"}
    return kinds.get(name.rpartition(".")[2], "text/plain")
