"""Long jobs and what can be run."""

from __future__ import annotations

from aiohttp import web

from node.http.routes import Call
from protocol.api.runs import ArtifactInfo, RunEdit, RunInfo, RunRequest, TaskInfo

MEDIA = {"png": "image/png", "svg": "image/svg+xml", "json": "application/json", "csv": "text/csv"}


async def start(call: Call[RunRequest]) -> RunInfo:
    return await call.services.runs.start(call.body)


async def listing(call: Call[None]) -> list[RunInfo]:
    return call.services.runs.list()


async def one(call: Call[None]) -> RunInfo:
    return call.services.runs.get(call.path("id"))


async def pause(call: Call[None]) -> RunInfo:
    return call.services.runs.order(call.path("id"), "paused")


async def resume(call: Call[None]) -> RunInfo:
    return call.services.runs.order(call.path("id"), "running")


async def stop(call: Call[None]) -> RunInfo:
    return call.services.runs.order(call.path("id"), "stopped")


async def edit(call: Call[RunEdit]) -> RunInfo:
    return call.services.runs.edit(call.path("id"), call.body)


async def artifacts(call: Call[None]) -> list[ArtifactInfo]:
    return list(call.services.runs.artifacts(call.path("id")))


async def artifact(call: Call[None]) -> web.StreamResponse:
    """A picture may hold no script: browsers are told so."""
    name = call.path("name")
    content = call.services.runs.artifact(call.path("id"), name)
    media = MEDIA.get(name.rpartition(".")[2], "text/plain")
    return web.Response(
        body=content, content_type=media, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    )


async def tasks(call: Call[None]) -> list[TaskInfo]:
    return call.services.runs.tasks()
