"""One-way messages of the grid: to a cell of this node at once, to other nodes in order, many in one frame, at a bounded rate.

A link closes on a peer that floods it, and a large grid would: so each peer has a queue, and what has gathered in it leaves as one bundle
at most `BUNDLES_PER_S` times a second. (With one frame a message, 1,024 cells waited so long for their turn that they repeated themselves:
3.4 messages a cell and iteration, where 20 x 20 cells needed one.) What a cell repeats while it still waits in the queue is not sent twice.
What a peer that cannot be reached was to hear is dropped; cells repeat themselves, so nothing depends on one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

import msgspec
import structlog

from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import PeerError
from protocol.identity import Member, NodeId, show_id
from protocol.messages import CellBundle, CellControl, CellMessage, CellReport, HostLinks, LinkMessage

BUNDLES_PER_S = 50.0
"""A fortieth of what a link allows: the rest of the node wants to be heard too."""
BUNDLE_BYTES = 65_536
BUNDLE_MESSAGES = 1_024
MAX_QUEUED = 16_384

Carried = CellMessage | CellReport | CellControl
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
        self.frames = 0
        """The frames that carried them."""
        self._queues: dict[NodeId, dict[object, Carried]] = {}
        self._numbers = count()
        self._tasks: asyncio.TaskGroup | None = None
        courier.on(CellBundle, self._unpack)

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

    def send(self, node_id: NodeId, message: Carried) -> None:
        """Deliver now where the receiver is this node, else queue; never waits."""
        if node_id == self._me:
            self._handlers[type(message)](self._me, message)
            return
        queue = self._queues.get(node_id)
        if queue is None:
            if self._tasks is None:
                return
            queue = self._queues[node_id] = {}
            self._tasks.create_task(self._deliver(node_id, queue), name=f"cells to {show_id(node_id)[:8]}")
        queue.setdefault(self._key(message), message)
        while len(queue) > MAX_QUEUED:
            del queue[next(iter(queue))]

    async def tell(self, node_id: NodeId, message: HostLinks) -> None:
        """A rare message, at once. What a peer that cannot be reached was to hear is dropped."""
        if node_id == self._me:
            self._handlers[type(message)](self._me, message)
            return
        try:
            await self.courier.send(node_id, message)
        except PeerError as error:
            log.debug("a message was dropped", node=show_id(node_id), reason=str(error))

    def _key(self, message: Carried) -> object:
        """Equal for what a cell repeats."""
        if isinstance(message, CellMessage):
            return message.run_id, message.iteration, message.sender, message.receiver
        return next(self._numbers)

    async def _deliver(self, node_id: NodeId, queue: dict[object, Carried]) -> None:
        """Empty one peer's queue, then end."""
        await asyncio.sleep(0)
        try:
            while queue:
                bundle, size = _first(queue)
                await self.courier.send(node_id, bundle)
                self.sent += len(bundle.messages)
                self.sent_bytes += size
                self.frames += 1
                await asyncio.sleep(1.0 / BUNDLES_PER_S)
        except PeerError as error:
            log.debug("cell messages dropped", node=show_id(node_id), count=len(queue), reason=str(error))
        finally:
            del self._queues[node_id]

    async def _unpack(self, peer: Member, bundle: CellBundle) -> LinkMessage | None:
        for message in bundle.messages:
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(peer.node_id, message)
        return None


def _first(queue: dict[object, Carried]) -> tuple[CellBundle, int]:
    """Take what fits into one frame, oldest first; at least one message."""
    taken: list[CellMessage | CellReport | CellControl] = []
    size = 0
    while queue and len(taken) < BUNDLE_MESSAGES and size < BUNDLE_BYTES:
        message = queue.pop(next(iter(queue)))
        taken.append(message)
        size += len(msgspec.msgpack.encode(message))
    return CellBundle(taken), size
