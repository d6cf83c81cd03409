"""What happens on this node, told to whoever listens: `/v1/events` and the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import structlog

from node.runtime import Runtime
from protocol.api.nodes import Event

QUEUE = 256
"""Events a slow listener may fall behind; older ones are dropped for it alone."""

EventKind = Literal["member", "birth", "death", "message", "consensus", "run", "labelling"]
log = structlog.get_logger("events")


class EventBus:
    """Fans events out to bounded queues, one per listener."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: set[asyncio.Queue[Event]] = set()
        self.missed = 0

    def emit(self, kind: EventKind, data: dict[str, str | float | int | bool | None]) -> None:
        """Never waits: a full queue loses its oldest event."""
        event = Event(kind, self._runtime.now(), data)
        log.info(kind, **data)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
                self.missed += 1
            queue.put_nowait(event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Queue[Event]]:
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)
