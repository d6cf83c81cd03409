"""Long jobs and what can be run."""

from __future__ import annotations

from node.http.routes import Call
from protocol.api import RunInfo, RunRequest, TaskInfo


async def start(call: Call[RunRequest]) -> RunInfo:
    return await call.services.runs.start(call.body)


async def listing(call: Call[None]) -> list[RunInfo]:
    return call.services.runs.list()


async def one(call: Call[None]) -> RunInfo:
    return call.services.runs.get(call.path("id"))


async def tasks(call: Call[None]) -> list[TaskInfo]:
    return call.services.runs.tasks()
