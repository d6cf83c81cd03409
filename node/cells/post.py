"""One-way messages of the grid: to a cell of this node at once, to other nodes in order, many in one frame, at a bounded rate.

A link closes on a peer that floods it, and a large grid would: so each peer has a queue, and what has gathered in it leaves as one bundle
at most `BUNDLES_PER_S` times a second. (With one frame a message, 1,024 cells waited so long for their turn that they repeated themselves:
3.4 messages a cell and iteration, where 20 x 20 cells needed one.) What a cell repeats while it still waits in the queue is not sent twice.
What a peer that cannot be reached was to hear is dropped; cells repeat themselves, so nothing depends on one of their messages. An order of
a run's home (pause, stop, a parameter) is said once: it is never dropped for want of room, goes before everything else, and is tried again
while its receiver may only be out of reach for a moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
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
MAX_ORDERS = 256
"""Orders kept for one peer; beyond that it is the oldest that goes, and says so."""
ORDER_TRIES = 5
ORDER_PAUSE_S = 2.0
"""An order is tried again for longer than it takes to notice that a peer is dead, or to dial it anew."""

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
        self._queues: dict[NodeId, _Queue] = {}
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
            queue = self._queues[node_id] = _Queue()
            self._tasks.create_task(self._deliver(node_id, queue), name=f"cells to {show_id(node_id)[:8]}")
        if isinstance(message, CellControl):
            queue.orders.append(message)
            if len(queue.orders) > MAX_ORDERS:
                log.warning("an order was dropped", node=show_id(node_id), state=queue.orders.popleft().state)
            return
        queue.waiting.setdefault(self._key(message), message)
        while len(queue.waiting) > MAX_QUEUED:
            del queue.waiting[next(iter(queue.waiting))]

    async def tell(self, node_id: NodeId, message: HostLinks) -> None:
        """A rare message, at once. What a peer that cannot be reached was to hear is dropped."""
        if node_id == self._me:
            self._handlers[type(message)](self._me, message)
            return
        try:
            await self.courier.send(node_id, message)
        except PeerError as error:
            log.debug("a message was dropped", node=show_id(node_id), reason=str(error))

    def _key(self, message: CellMessage | CellReport) -> object:
        """Equal for what a cell repeats."""
        if isinstance(message, CellMessage):
            return message.run_id, message.iteration, message.sender, message.receiver
        return next(self._numbers)

    async def _deliver(self, node_id: NodeId, queue: _Queue) -> None:
        """Empty one peer's queue, orders first, then end."""
        await asyncio.sleep(0)
        failures = 0
        try:
            while queue.orders or queue.waiting:
                bundle, size = queue.first()
                try:
                    await self.courier.send(node_id, bundle)
                except PeerError as error:
                    failures += 1
                    log.debug("cell messages dropped", node=show_id(node_id), count=len(queue.waiting), reason=str(error))
                    queue.waiting.clear()
                    if not queue.orders:
                        return
                    if failures == ORDER_TRIES:
                        log.warning("orders not delivered", node=show_id(node_id), count=len(queue.orders), reason=str(error))
                        return
                    await asyncio.sleep(ORDER_PAUSE_S)
                    continue
                queue.done(bundle)
                self.sent += len(bundle.messages)
                self.sent_bytes += size
                self.frames += 1
                await asyncio.sleep(1.0 / BUNDLES_PER_S)
        finally:
            del self._queues[node_id]

    async def _unpack(self, peer: Member, bundle: CellBundle) -> LinkMessage | None:
        for message in bundle.messages:
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(peer.node_id, message)
        return None


class _Queue:
    """What waits for one peer."""

    def __init__(self) -> None:
        self.orders: deque[CellControl] = deque()
        """They stay until they were sent."""
        self.waiting: dict[object, CellMessage | CellReport] = {}

    def first(self) -> tuple[CellBundle, int]:
        """All orders, then what fits into one frame, oldest first; at least one message. The orders stay in the queue."""
        taken: list[CellMessage | CellReport | CellControl] = list(self.orders)
        size = sum(len(msgspec.msgpack.encode(order)) for order in taken)
        while self.waiting and len(taken) < BUNDLE_MESSAGES and size < BUNDLE_BYTES:
            message = self.waiting.pop(next(iter(self.waiting)))
            taken.append(message)
            size += len(msgspec.msgpack.encode(message))
        return CellBundle(taken), size

    def done(self, bundle: CellBundle) -> None:
        """The orders in it have arrived; others may have come or gone meanwhile."""
        sent = {id(message) for message in bundle.messages}
        self.orders = deque(order for order in self.orders if id(order) not in sent)
