"""One-way messages of the grid: to a cell of this node at once, to other nodes in order and at a bounded rate.

A link closes on a peer that floods it, and a large grid would: so each peer has a queue and is sent at most `RATE_PER_S` a second. What
a peer that cannot be reached was to hear is dropped; cells repeat themselves, so nothing depends on one message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import PeerError
from protocol.identity import Member, NodeId, show_id
from protocol.messages import LinkMessage

RATE_PER_S = 500
"""A quarter of what a link allows: the rest of the node wants to be heard too."""
BURST = 50
MAX_QUEUED = 16_384

M = TypeVar("M")
log = structlog.get_logger("cells")


class Post:
    """`run` it in the daemon's TaskGroup; before that only messages within the node are delivered."""

    def __init__(self, runtime: Runtime, me: NodeId, courier: Courier) -> None:
        self._runtime = runtime
        self._me = me
        self.courier = courier
        """For requests, which are not paced."""
        self._handlers: dict[type[Any], Callable[[NodeId, Any], None]] = {}
        self.sent = 0
        """Messages handed to links."""
        self.sent_bytes = 0
        """Their bytes, before the link's own framing."""
        self._queues: dict[NodeId, deque[LinkMessage]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def on(self, message_type: type[M], handler: Callable[[NodeId, M], None]) -> None:
        """`handler(sender, message)` for this type, from other nodes and from this one."""
        self._handlers[message_type] = handler

        async def arrived(peer: Member, message: M) -> None:
            handler(peer.node_id, message)

        self.courier.on(message_type, arrived)

    async def run(self) -> None:
        """Own the senders until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def send(self, node_id: NodeId, message: LinkMessage) -> None:
        """Deliver now where the receiver is this node, else queue; never waits."""
        if node_id == self._me:
            self._handlers[type(message)](self._me, message)
            return
        queue = self._queues.get(node_id)
        if queue is None:
            if self._tasks is None:
                return
            queue = self._queues[node_id] = deque(maxlen=MAX_QUEUED)
            self._tasks.create_task(self._deliver(node_id, queue), name=f"cells to {show_id(node_id)[:8]}")
        queue.append(message)

    async def _deliver(self, node_id: NodeId, queue: deque[LinkMessage]) -> None:
        """Empty one peer's queue, then end."""
        sent = 0
        await asyncio.sleep(0)
        try:
            while queue:
                message = queue.popleft()
                await self.courier.send(node_id, message)
                self.sent += 1
                self.sent_bytes += len(msgspec.msgpack.encode(message))
                sent += 1
                if sent % BURST == 0:
                    await asyncio.sleep(BURST / RATE_PER_S)
        except PeerError as error:
            log.debug("cell messages dropped", node=show_id(node_id), count=len(queue) + 1, reason=str(error))
        finally:
            del self._queues[node_id]
