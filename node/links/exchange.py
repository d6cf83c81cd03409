"""Requests and one-way messages over links: one link used per peer, a table of handlers, a deadline on every wait.

    request(node_id, message, timeout) -> answer       call and answer share a number
    send(node_id, message)                             one way
    on(MessageType, handler)                           what to do with a message that comes in

The exchange owns every link. It dials on demand through `resolve` (who knows a member's address is not its business), reads each
link in one task, runs at most `HANDLERS_PER_LINK` handlers of a link at a time and drops what floods beyond its rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from node.links.base import Link, LinkFactory
from node.runtime import Runtime
from protocol.codec import decode_frame, encode
from protocol.errors import LocalError, Malformed, MootError, PeerError, Refused, TooLarge, Unreachable
from protocol.identity import Member, NodeId, show_id
from protocol.messages import PROTOCOL_VERSION, Frame, Goodbye, Hello, LinkMessage, Refusal

DIAL_S = 5.0
HELLO_S = 5.0
LAST_WORDS_S = 5.0
"""What a peer said before its goodbye is handled within this."""
HANDLERS_PER_LINK = 64
MAX_LINKS = 256
RATE_PER_S = 2_000.0
"""Messages a second that one peer may send, with a burst of the same; beyond it the link is closed."""

M = TypeVar("M")
Handler = Callable[[Member, Any], Awaitable[LinkMessage | None]]
log = structlog.get_logger("links")


class LinkWatcher(Protocol):
    """Told when links come and go; the overlay implements it."""

    def link_up(self, peer: Member, hello: Hello) -> None: ...

    def link_down(self, peer: Member, left: bool) -> None: ...


@dataclass(slots=True, eq=False)
class _Peer:
    """One live link and what waits on it."""

    link: Link
    hello: Hello
    waiting: dict[int, asyncio.Future[LinkMessage]] = field(default_factory=dict)
    handling: int = 0
    credit: float = RATE_PER_S
    refilled: float = 0.0
    said_goodbye: bool = False


class Exchange:
    """The node's switchboard."""

    def __init__(
        self,
        runtime: Runtime,
        factory: LinkFactory,
        me: NodeId,
        hello: Callable[[], Hello],
        resolve: Callable[[NodeId], str | None],
    ) -> None:
        self._runtime = runtime
        self._factory = factory
        self._me = me
        self._hello = hello
        self._resolve = resolve
        self._handlers: dict[type[Any], Handler] = {}
        self._peers: dict[NodeId, list[_Peer]] = {}
        """Live links of each peer, oldest first; two nodes that dial each other at once share two for a while."""
        self._dialling: dict[NodeId, asyncio.Lock] = {}
        self._next_call = 0
        self._served = 0
        self._tasks: asyncio.TaskGroup | None = None
        self.watcher: LinkWatcher | None = None
        self.dropped = 0
        """Messages refused: malformed, too long, too many."""

    def on(self, message_type: type[M], handler: Callable[[Member, M], Awaitable[LinkMessage | None]]) -> None:
        """Register the one handler of a message type."""
        if message_type in self._handlers:
            raise LocalError(f"two handlers for {message_type.__name__}")
        self._handlers[message_type] = handler

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Reader tasks are owned by this group from now on."""
        self._tasks = tasks

    @property
    def linked(self) -> dict[NodeId, Hello]:
        """Peers with a live link and how they introduced themselves."""
        return {node_id: peers[0].hello for node_id, peers in self._peers.items()}

    async def accept(self, link: Link) -> None:
        """Serve one incoming link until it closes (the factory's handler)."""
        try:
            peer = await self._introduce(link)
        except (PeerError, TimeoutError) as error:
            log.info("link refused", peer=show_id(link.peer.node_id), reason=str(error) or "no hello in time")
            return
        await self._serve(peer)

    async def connect(self, address: str, expect: NodeId | None = None) -> Member:
        """Dial an address and keep the link. Raises `Unreachable` or `BadSignature`."""
        if self._tasks is None:
            raise LocalError("the exchange is not started")
        link = await self._factory.dial(address, expect, DIAL_S)
        try:
            if link.peer.node_id == self._me:
                raise Unreachable(f"{address} is this node itself")
            peer = await self._introduce(link)
        except TimeoutError as error:
            await link.close()
            raise Unreachable(f"{address} did not say hello within {HELLO_S:.0f} s") from error
        except BaseException:  # also when the caller gave up: nobody else knows this link
            await link.close()
            raise
        self._tasks.create_task(self._serve(peer), name=f"link {show_id(link.peer.node_id)[:8]}")
        return link.peer

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        """Ask and wait for the answer. Raises `Unreachable` after `timeout` seconds, `Refused` when the peer says no."""
        try:
            async with asyncio.timeout(timeout):
                peer = await self._peer(node_id)
                self._next_call += 1
                call = self._next_call
                future: asyncio.Future[LinkMessage] = asyncio.get_running_loop().create_future()
                peer.waiting[call] = future
                try:
                    await peer.link.send(encode(Frame(call, 0, message)))
                    answer = await future
                finally:
                    peer.waiting.pop(call, None)
        except TimeoutError as error:
            raise Unreachable(f"node {show_id(node_id)} did not answer within {timeout:.1f} s") from error
        if isinstance(answer, Refusal):
            raise Refused(answer.code, answer.message)
        return answer

    async def send(self, node_id: NodeId, message: LinkMessage, timeout: float = DIAL_S) -> None:
        """One way. Raises `Unreachable`."""
        try:
            async with asyncio.timeout(timeout):
                peer = await self._peer(node_id)
                await peer.link.send(encode(Frame(0, 0, message)))
        except TimeoutError as error:
            raise Unreachable(f"node {show_id(node_id)} did not take a message within {timeout:.1f} s") from error

    async def close(self, reason: str) -> None:
        """Say goodbye to everyone and close every link."""
        everyone = [peer for peers in self._peers.values() for peer in peers]
        await asyncio.gather(*(self._part(peer, reason) for peer in everyone))

    async def drop(self, node_id: NodeId, reason: str) -> None:
        """Close every link to one peer, saying why."""
        await asyncio.gather(*(self._part(peer, reason) for peer in self._peers.get(node_id, [])))

    async def _part(self, peer: _Peer, reason: str) -> None:
        try:
            async with asyncio.timeout(0.5):
                await peer.link.send(encode(Frame(0, 0, Goodbye(reason))))
        except (PeerError, TimeoutError):
            log.debug("goodbye not delivered", peer=show_id(peer.link.peer.node_id))
        await peer.link.close(reason)

    async def _peer(self, node_id: NodeId) -> _Peer:
        """The live link to a node, dialled now if there is none."""
        if node_id not in self._peers:
            lock = self._dialling.setdefault(node_id, asyncio.Lock())
            try:
                async with lock:
                    if node_id not in self._peers:
                        address = self._resolve(node_id)
                        if not address:
                            raise Unreachable(f"no address is known for node {show_id(node_id)}")
                        await self.connect(address, node_id)
            finally:
                if not lock.locked():
                    self._dialling.pop(node_id, None)
        peers = self._peers.get(node_id)
        if not peers:
            raise Unreachable(f"the link to node {show_id(node_id)} closed at once")
        return peers[0]

    async def _introduce(self, link: Link) -> _Peer:
        """Exchange hellos and take the link into the table. Raises `PeerError` or `TimeoutError`."""
        if self._served >= MAX_LINKS:
            raise Refused("busy", f"this node keeps at most {MAX_LINKS} links")
        async with asyncio.timeout(HELLO_S):
            await link.send(encode(Frame(0, 0, self._hello())))
            frame = decode_frame(await link.receive())
        if not isinstance(frame.body, Hello):
            raise Malformed("the first message on a link must be a hello")
        if frame.body.version != PROTOCOL_VERSION:
            raise Refused("version", f"protocol version {frame.body.version} is not {PROTOCOL_VERSION}; update the older node")
        peer = _Peer(link, frame.body, refilled=self._runtime.monotonic())
        peers = self._peers.setdefault(link.peer.node_id, [])
        peers.append(peer)
        if len(peers) == 1 and self.watcher is not None:
            self.watcher.link_up(link.peer, frame.body)
        return peer

    def _forget(self, peer: _Peer) -> None:
        """The link is over: whoever waits on it hears so at once, and the watcher when it was the last one."""
        node_id = peer.link.peer.node_id
        for future in peer.waiting.values():
            if not future.done():
                future.set_exception(Unreachable(f"the link to node {show_id(node_id)} was lost"))
        peers = self._peers.get(node_id, [])
        if peer in peers:
            peers.remove(peer)
            if not peers:
                del self._peers[node_id]
                if self.watcher is not None:
                    self.watcher.link_down(peer.link.peer, peer.said_goodbye)

    async def _serve(self, peer: _Peer) -> None:
        self._served += 1
        try:
            async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as handlers:
                await self._read(peer, handlers)
                patience.reschedule(asyncio.get_running_loop().time() + LAST_WORDS_S)
        except* (PeerError, TimeoutError) as group:
            log.debug("link lost", peer=show_id(peer.link.peer.node_id), reason=str(group.exceptions[0]))
        finally:
            self._served -= 1
            self._forget(peer)
            await peer.link.close()

    async def _read(self, peer: _Peer, handlers: asyncio.TaskGroup) -> None:
        while True:
            frame = self._checked(peer, await peer.link.receive())
            if frame.answer:
                future = peer.waiting.get(frame.answer)
                if future is not None and not future.done():
                    future.set_result(frame.body)
            elif isinstance(frame.body, Goodbye):
                peer.said_goodbye = True
                log.debug("the peer left", peer=show_id(peer.link.peer.node_id), reason=frame.body.reason)
                self._forget(peer)
                return  # what it said before goodbye is still handled: that it leaves for good, for instance
            elif peer.handling >= HANDLERS_PER_LINK:  # never wait here: answers to our own requests come through this loop
                self.dropped += 1
                if frame.call:
                    busy = Refusal("busy", f"this node serves {HANDLERS_PER_LINK} of your requests already")
                    await peer.link.send(encode(Frame(0, frame.call, busy)))
            else:
                peer.handling += 1
                handlers.create_task(self._handle(peer, frame))

    def _checked(self, peer: _Peer, data: bytes) -> Frame:
        """Rate, size and shape, before use. A peer that breaks one loses its link."""
        now = self._runtime.monotonic()
        peer.credit = min(RATE_PER_S, peer.credit + (now - peer.refilled) * RATE_PER_S)
        peer.refilled = now
        peer.credit -= 1
        try:
            if peer.credit < 0:
                raise TooLarge(f"more than {RATE_PER_S:.0f} messages a second")
            return decode_frame(data)
        except PeerError:
            self.dropped += 1
            raise

    async def _handle(self, peer: _Peer, frame: Frame) -> None:
        try:
            handler = self._handlers.get(type(frame.body))
            answer: LinkMessage | None
            if handler is None:
                answer = Refusal("unknown", f"{type(frame.body).__name__} is not served here")
            else:
                answer = await self._answer(handler, peer, frame.body)
            if frame.call and answer is not None:
                await peer.link.send(encode(Frame(0, frame.call, answer)))
        except PeerError as error:
            log.debug("answer not delivered", peer=show_id(peer.link.peer.node_id), reason=str(error))
        finally:
            peer.handling -= 1

    async def _answer(self, handler: Handler, peer: _Peer, body: LinkMessage) -> LinkMessage | None:
        """A handler's refusal travels back as `Refusal`."""
        try:
            return await handler(peer.link.peer, body)
        except Refused as error:
            return Refusal(error.code[:64], str(error)[:512])
        except MootError as error:
            self.dropped += 1
            return Refusal(type(error).__name__, str(error)[:512])
        # Supervision boundary: a bug that a peer's message reached is logged with its trace and costs that one request, not the daemon.
        except Exception:
            log.exception("a handler failed", message=type(body).__name__, peer=show_id(peer.link.peer.node_id))
            return Refusal("internal", "this node failed while it served the request; its log says why")
