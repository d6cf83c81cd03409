"""Tasks by name, by entry point, or by the path of a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from node.tasks.base import Param, Task, Value
from node.tasks.circuit import TravellingSalesman
from node.tasks.colouring import Colouring
from node.tasks.functions import Minimise
from node.tasks.packing.equal import CirclePacking
from node.tasks.packing.unequal import CirclePackingSum
from node.tasks.partition import NumberPartition
from node.tasks.text import Text
from protocol.errors import InvalidRequest

GROUP = "moot.tasks"
SHIPPED: tuple[type[Task], ...] = (CirclePacking, CirclePackingSum, Colouring, Minimise, NumberPartition, Text, TravellingSalesman)
"""Importing them is cheap: numpy and scipy are imported where they compute, in a child process."""


def shipped_tasks() -> dict[str, type[Task]]:
    """Every task that this node knows by name, installed ones included; a peer's run of another one is refused."""
    known = {task.name: task for task in SHIPPED}
    for entry in entry_points(group=GROUP):
        known.setdefault(entry.name, entry.load())
    return known


def is_path(reference: str) -> bool:
    """Whether a task is named by its file."""
    return reference.endswith(".py")


def make_task(reference: str, values: Mapping[str, Any]) -> Task:
    """The task of a name or a file, bound. Raises `InvalidRequest`. A file is run: only ever in a child process."""
    kind = _from_file(Path(reference)) if is_path(reference) else shipped_tasks().get(reference)
    if kind is None:
        raise InvalidRequest(f"There is no task '{reference}'.", param="task")
    return kind(checked_values({name: value for name, value in values.items() if name in kind.params}, kind.params, kind.name))


def checked_values(given: Mapping[str, Any], params: Mapping[str, Param], task: str) -> dict[str, Value]:
    """Parameters with defaults filled in. Raises `InvalidRequest` naming what there is."""
    values: dict[str, Value] = {name: param.default for name, param in params.items()}
    for name, value in given.items():
        param = params.get(name)
        if param is None:
            there = ", ".join(sorted(params)) or "none"
            raise InvalidRequest(f"Task '{task}' has no parameter '{name}': it has {there}.", param=name)
        values[name] = _checked(name, value, param)
    return values


def _checked(name: str, value: Any, param: Param) -> Value:
    if isinstance(param.default, str):
        if not isinstance(value, str) or (param.choices and value not in param.choices) or len(value) > 1_000:
            raise InvalidRequest(f"'{name}' must be one of {', '.join(param.choices) or 'any text'}, not {value!r}.", param=name)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not param.low <= value <= param.high:
        raise InvalidRequest(f"'{name}' must be from {param.low:g} to {param.high:g}, not {value}.", param=name)
    if isinstance(param.default, int):
        if value != int(value):
            raise InvalidRequest(f"'{name}' must be a whole number, not {value}.", param=name)
        return int(value)
    return float(value)


def _from_file(path: Path) -> type[Task]:
    spec = importlib.util.spec_from_file_location("task_file", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InvalidRequest(f"There is no task file {path}.", param="task")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Task) and kind is not Task and kind.__module__ == "task_file"
    ]
    if len(found) != 1:
        raise InvalidRequest(f"{path} must define exactly one subclass of node.tasks.base.Task; it defines {len(found)}.", param="task")
    return found[0]
