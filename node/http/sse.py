"""Server-sent events (WHATWG HTML, section 9.2) to a client that may stop reading: it is cut off then, so it cannot hold memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

STALL_S = 10.0
"""A client that takes nothing for this long loses its stream."""

Send = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def event_stream(request: web.Request) -> AsyncIterator[tuple[web.StreamResponse, Send]]:
    """The response, and a function that writes to it. Writing raises `ConnectionError` when the client is gone or does not read."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)

    async def send(data: bytes) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await response.write(data)
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client does not read its stream") from error

    yield response, send
