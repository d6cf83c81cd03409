"""Grid runs as the run manager knows them: what a task is called, which parameters it takes, which of them may change meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from node.cells.choosers import CHOOSERS
from node.cells.grid import TOPOLOGIES
from node.cells.host import MAX_ITERATIONS, MAX_SECONDS
from node.runs.run import Job, Run, Value
from node.tasks.base import Param, Task
from node.tasks.registry import checked_values
from protocol.api.runs import TaskInfo

CarryOut = Callable[[Run, type[Task] | None], Awaitable[None]]
"""`GridHome.carry_out`."""

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


class GridJob(Job):
    """One task on the grid, as a kind of run."""

    def __init__(self, carry_out: CarryOut, name: str, task: type[Task] | None) -> None:
        """`task` None: a file, which only a child process opens; it has no parameters of its own."""
        self._carry_out = carry_out
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
        await self._carry_out(run, self._task)
