"""`/v1/events`: what happens on this node, as a WebSocket or as server-sent events.

Every client has a bounded queue (`node.events`). A client that reads too slowly misses events; it never holds anything up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import msgspec
from aiohttp import WSCloseCode, web

from node.http.errors import NotAcceptable, TooBusy
from node.http.routes import Call
from node.http.sse import event_stream
from protocol.api.nodes import Event

HEARTBEAT_S = 15.0
"""A silent stream says something this often, so that a dead client is noticed."""
CLOSE_S = 0.5

STREAMS: web.AppKey[set[asyncio.Task[object]]] = web.AppKey("streams", set)


async def stream(call: Call[None]) -> web.StreamResponse:
    """The events from now on, until the client or the node goes."""
    with _counted(call):
        if call.request.headers.get("Upgrade", "").lower() == "websocket":
            return await _websocket(call)
        if "text/event-stream" in call.request.headers.get("Accept", ""):
            await _server_sent(call)
    raise NotAcceptable(
        "Events come as a WebSocket, or with the header 'Accept: text/event-stream'.", code="not_acceptable", param="Accept"
    )


async def close_streams(app: web.Application) -> None:
    """At shutdown: end every stream at once; they would outlive any grace period."""
    for task in app[STREAMS]:
        task.cancel()


@contextmanager
def _counted(call: Call[None]) -> Iterator[None]:
    streams = call.request.app[STREAMS]
    if len(streams) >= call.services.limits.streams:
        raise TooBusy("This node already serves as many event streams as it takes: close one.", code="too_many_streams")
    task = asyncio.current_task()
    assert task is not None, "aiohttp runs every handler in a task"
    streams.add(task)
    try:
        yield
    finally:
        streams.discard(task)


async def _server_sent(call: Call[None]) -> NoReturn:
    """One event a `data:` line, with its name in `event:`. Never returns: the client or the node ends it."""
    async with call.services.events.subscribe() as queue, event_stream(call.request) as (_, send):
        await send(b": moot events\n\n")
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    event = await queue.get()
            except TimeoutError:
                await send(b": still here\n\n")
            else:
                await send(b"event: %s\ndata: %s\n\n" % (event.event.encode(), msgspec.json.encode(event)))


async def _websocket(call: Call[None]) -> web.StreamResponse:
    """One event a text message. What the client sends is read only to notice that it left."""
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=4_096, timeout=CLOSE_S)
    if not socket.can_prepare(call.request):
        raise NotAcceptable("This is no WebSocket handshake (RFC 6455): check the client.", code="not_acceptable")
    async with call.services.events.subscribe() as queue:
        await socket.prepare(call.request)
        try:
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(_send(socket, queue))
                async for _ in socket:
                    pass
                sender.cancel()
        finally:
            await socket.close(code=WSCloseCode.GOING_AWAY)
    return socket


async def _send(socket: web.WebSocketResponse, queue: asyncio.Queue[Event]) -> None:
    try:
        while True:
            await socket.send_str(msgspec.json.encode(await queue.get()).decode())
    except ConnectionError:
        return  # the client left between two events; the reader sees it too
