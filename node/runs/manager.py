"""Starts runs, owns their tasks, answers what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

import structlog

from node.runs.run import Job, Run
from node.runtime import Runtime
from protocol.api import RunInfo, RunRequest, TaskInfo
from protocol.errors import InvalidRequest, NotAvailable, NotFound, UserError
from protocol.identity import ID_BYTES, parse_id, show_id

MAX_RUNS = 16
"""Runs kept, finished ones included; the oldest finished one makes room."""
KEEP_S = 3_600.0
"""A finished run is forgotten this long after its start."""

OnEvent = Callable[[Mapping[str, str | float | int | bool | None]], None]
"""Told of every change of state: run_id, task, state, detail."""
log = structlog.get_logger("runs")


class RunManager:
    """Every run of this node. `run` it in the daemon's TaskGroup."""

    def __init__(self, runtime: Runtime, on_event: OnEvent = lambda data: None) -> None:
        self._runtime = runtime
        self._on_event = on_event
        self._jobs: dict[str, Job] = {}
        self._runs: dict[bytes, Run] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def register(self, job: Job) -> None:
        """From now on this kind of run can be started."""
        self._jobs[job.info().name] = job

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
        job = self._jobs.get(request.task)
        if job is None:
            raise InvalidRequest(f"There is no task '{request.task}': there is {', '.join(sorted(self._jobs)) or 'none'}.", param="task")
        params = checked(request.params, job.info())
        self._make_room()
        if self._tasks is None:
            raise NotAvailable("This node is not ready to start runs: ask again in a moment.")
        run = Run(self._runtime.token_bytes(ID_BYTES), request.task, params, self._runtime.monotonic())
        self._runs[run.run_id] = run
        self._tasks.create_task(self._carry_out(job, run), name=f"run {show_id(run.run_id)[:8]}")
        return run.info()

    def get(self, id: str) -> RunInfo:  # noqa: A002 - the name users see
        """Raises `InvalidRequest` when it is no id, `NotFound` when there is no such run."""
        run = self._runs.get(parse_id(id))
        if run is None:
            raise NotFound(f"There is no run {id} on this node: runs are kept for an hour, where they were started.")
        return run.info()

    def tasks(self) -> list[TaskInfo]:
        """What can be started, with parameters."""
        return [self._jobs[name].info() for name in sorted(self._jobs)]

    def list(self) -> list[RunInfo]:
        """Newest first."""
        return [run.info() for run in reversed(self._runs.values())]

    async def _carry_out(self, job: Job, run: Run) -> None:
        self._change(run, "running")
        try:
            await job.carry_out(run)
        except UserError as error:
            run.detail = str(error)
            self._change(run, "failed")
        # Supervision boundary: a bug in one kind of run ends that run and not the daemon.
        except Exception as error:
            log.exception("a run failed", task=run.task)
            run.detail = f"internal error ({type(error).__name__}): the node's log says more"
            self._change(run, "failed")
        else:
            self._change(run, "done")

    def _change(self, run: Run, state: Literal["running", "done", "failed"]) -> None:
        run.state = state
        self._on_event({"run_id": show_id(run.run_id), "task": run.task, "state": state, "detail": run.detail})

    def _make_room(self) -> None:
        """Forget what is old. Raises `NotAvailable` when everything kept still runs."""
        over = [run for run in self._runs.values() if run.state in ("done", "failed")]
        expired = [run for run in over if self._runtime.monotonic() - run.started_at > KEEP_S]
        if not expired and len(self._runs) >= MAX_RUNS:
            expired = over[:1]
            if not expired:
                raise NotAvailable(f"{MAX_RUNS} runs are under way on this node: wait for one to end, or ask another node.")
        for run in expired:
            del self._runs[run.run_id]


def checked(params: Mapping[str, int], task: TaskInfo) -> dict[str, int]:
    """Parameters with defaults filled in. Raises `InvalidRequest` naming what there is."""
    for name, value in params.items():
        schema = task.params.get(name)
        if schema is None:
            raise InvalidRequest(f"Task '{task.name}' has no parameter '{name}': it has {', '.join(sorted(task.params))}.", param=name)
        if not schema["low"] <= value <= schema["high"]:
            raise InvalidRequest(f"'{name}' must be from {schema['low']} to {schema['high']}, not {value}.", param=name)
    return {name: params.get(name, schema["default"]) for name, schema in task.params.items()}
