"""Links in one process over the simulated network: latency, order, back-pressure, partitions; no sockets and no TLS.

Peers are authenticated by construction: a factory is built with a node's credentials and its links say so. Works under the virtual
loop and under a plain one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque

from node.links.base import SILENCE_S, STALL_S, Link, LinkFactory, LinkHandler
from node.testing.network import FIRST_FREE_PORT, Address, Packet, SimNetwork
from protocol.address import join_address, split_address
from protocol.codec import MAX_FRAME
from protocol.errors import BadSignature, Conflict, InvalidRequest, PeerError, TooLarge, Unreachable
from protocol.identity import Credentials, Member, NodeId, describe_leaf, show_id

WINDOW_MESSAGES = 256
WINDOW_BYTES = 1_048_576
"""What may be sent and not yet read in one direction, as a socket's two buffers would hold; one message always fits."""


class MemoryFactory(LinkFactory):
    """Listens and dials as `credentials`' node on `host` of the simulated network."""

    def __init__(
        self, network: SimNetwork, host: str, credentials: Credentials, *, stall_s: float = STALL_S, silence_s: float = SILENCE_S
    ) -> None:
        self.credentials = credentials
        self.member = describe_leaf(credentials.leaf)
        self.stall_s = stall_s
        self.silence_s = silence_s
        self._network = network
        self._host = host
        self._ports = itertools.count(FIRST_FREE_PORT)
        self._listening: list[Address] = []
        self._handler: LinkHandler | None = None
        self._links: dict[MemoryLink, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int, handler: LinkHandler) -> tuple[str, int]:
        """`host` is not looked at: a simulated machine has one address."""
        try:
            bound = self._network.free_address((self._host, port), self._network.listeners)
        except OSError as error:
            raise Conflict(f"port {port} on {self._host} is in use: choose another with --port.") from error
        self._handler = handler
        self._network.listeners[bound] = self
        self._listening.append(bound)
        return bound

    async def dial(self, address: str, expect: NodeId | None, timeout: float) -> Link:
        try:
            target = split_address(address)
            async with asyncio.timeout(timeout):
                listener = await self._reach(target, address)
        except InvalidRequest as error:
            raise Unreachable(str(error)) from error
        except TimeoutError as error:
            raise Unreachable(f"{address} did not answer within {timeout:.1f} s") from error
        if listener.credentials.swarm_id != self.credentials.swarm_id:
            raise BadSignature(f"{address} belongs to another swarm")
        if expect is not None and listener.member.node_id != expect:
            raise BadSignature(f"{address} is node {show_id(listener.member.node_id)}, not {show_id(expect)}")
        source = (self._host, next(self._ports))
        cable = _Cable(self._network, source, target, self.stall_s, self.silence_s)
        mine = MemoryLink(listener.member, address, cable, cable.forward, cable.backward)
        theirs = MemoryLink(self.member, join_address(*source), cable, cable.backward, cable.forward)
        self._links[mine] = None
        listener.accept(theirs)
        return mine

    async def close(self) -> None:
        for bound in self._listening:
            self._network.listeners.pop(bound, None)
        for link in list(self._links):
            await link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reach(self, target: Address, address: str) -> MemoryFactory:
        """One round trip to whoever listens there."""
        source = (self._host, 0)
        round_trip = self._network.carry(Packet(source, target, b"dial")) + self._network.carry(Packet(target, source, b"up"))
        await asyncio.sleep(round_trip)
        if self._network.severed(self._host, target[0]):
            await asyncio.Event().wait()  # as a packet into the void: only the caller's deadline ends it
        listener = self._network.listeners.get(target)
        if not isinstance(listener, MemoryFactory):
            raise Unreachable(f"{address} refused the connection: nothing listens there")
        return listener

    def accept(self, link: MemoryLink) -> None:
        """Serve a link that a peer dialled."""
        self._links = {known: None for known in self._links if not known.closed}
        self._links[link] = None
        task = asyncio.get_running_loop().create_task(self._serve(link), name=f"link {show_id(link.peer.node_id)[:8]}")
        self._tasks.add(task)
        task.add_done_callback(self._served)

    async def _serve(self, link: MemoryLink) -> None:
        try:
            if self._handler is not None:
                await self._handler(link)
        except PeerError:
            pass  # the link ended under its handler: no failure of this node
        finally:
            await link.close()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": "a link's handler failed", "exception": error, "task": task})


class MemoryLink(Link):
    """One end of a cable."""

    def __init__(self, peer: Member, address: str, cable: _Cable, outgoing: _Pipe, incoming: _Pipe) -> None:
        self.peer = peer
        self.address = address
        self._cable = cable
        self._out = outgoing
        self._in = incoming

    @property
    def closed(self) -> bool:
        return self._out.ended is not None

    async def send(self, data: bytes) -> None:
        if len(data) > MAX_FRAME:
            raise TooLarge(f"a message of {len(data)} bytes; the limit is {MAX_FRAME}")
        await self._out.put(data)

    async def receive(self) -> bytes:
        return await self._in.get()

    async def close(self, reason: str = "") -> None:
        self._out.finish(f"the peer closed the link{': ' * bool(reason)}{reason}")
        self._in.deafen()


class _Cable:
    """Both directions of a link, and what faults of the network do to them."""

    def __init__(self, network: SimNetwork, source: Address, target: Address, stall_s: float, silence_s: float) -> None:
        self._network = network
        self._hosts = (source[0], target[0])
        self._silence_s = silence_s
        self._silence: asyncio.TimerHandle | None = None
        self.stall_s = stall_s
        self.forward = _Pipe(network, source, target, self)
        self.backward = _Pipe(network, target, source, self)
        network.watch(self, self._weather)

    def end(self, reason: str) -> None:
        """Both directions are over for both ends."""
        self._network.unwatch(self)
        if self._silence is not None:
            self._silence.cancel()
        self.forward.end(reason)
        self.backward.end(reason)

    def hang_up(self, reason: str) -> None:
        """One end has closed and the other knows it: nobody sends any more, what has arrived can still be read."""
        self._network.unwatch(self)
        if self._silence is not None:
            self._silence.cancel()
        self.forward.stop(reason)
        self.backward.stop(reason)

    def _weather(self) -> None:
        if any(self._network.crashed(host) for host in self._hosts):
            self.end("the connection was reset: the peer's process ended")
        elif self._network.severed(*self._hosts):
            if self._silence is None:
                self._silence = asyncio.get_running_loop().call_later(self._silence_s, self.end, "the peer fell silent")
        elif self._silence is not None:
            self._silence.cancel()
            self._silence = None
            self.forward.resume()
            self.backward.resume()


class _Pipe:
    """One direction: a window of unread messages, a wire that delays and keeps order, a queue at the reader."""

    def __init__(self, network: SimNetwork, source: Address, target: Address, cable: _Cable) -> None:
        self.ended: str | None = None
        """Why nothing more can be sent; what has arrived can still be read after a regular end."""
        self._network = network
        self._source = source
        self._target = target
        self._cable = cable
        self._wire: deque[bytes | None] = deque()
        self._stuck = 0
        self._last_landing = 0.0
        self._arrived: deque[bytes] = deque()
        self._over: str | None = None
        self._unread_bytes = 0
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    async def put(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._cable.stall_s) as stall:
                while self.ended is None and self._full(len(data)):
                    self._writable.clear()
                    await self._writable.wait()
                    stall.reschedule(loop.time() + self._cable.stall_s)
        except TimeoutError as error:
            self._cable.end(f"the peer has not read for {self._cable.stall_s:.1f} s")
            raise Unreachable(f"the peer has not read for {self._cable.stall_s:.1f} s") from error
        if self.ended is not None:
            raise Unreachable(self.ended)
        self._unread_bytes += len(data)
        self._carry(data)

    async def get(self) -> bytes:
        while not self._arrived:
            if self._over is not None:
                raise Unreachable(self._over)
            self._readable.clear()
            await self._readable.wait()
        data = self._arrived.popleft()
        self._unread_bytes -= len(data)
        self._writable.set()
        return data

    def finish(self, reason: str) -> None:
        """Regular end: the reader still gets what is on its way, then `reason`."""
        if self.ended is None:
            self.stop(reason)
            self._carry(None)

    def stop(self, reason: str) -> None:
        """Nothing more is sent."""
        self.ended = self.ended or reason
        self._writable.set()

    def deafen(self) -> None:
        """The reader has gone; what still comes is thrown away."""
        self._over = self._over or "this node closed the link"
        self._arrived.clear()
        self._readable.set()

    def end(self, reason: str) -> None:
        """At once, for both ends; what has not been read is lost."""
        self.stop(reason)
        self._over = self._over or reason
        self._wire.clear()
        self._arrived.clear()
        self._readable.set()

    def resume(self) -> None:
        """The path is back: what was held lands now."""
        stuck, self._stuck = self._stuck, 0
        for _ in range(stuck):
            self._land()

    def _full(self, size: int) -> bool:
        unread = len(self._wire) + len(self._arrived)
        return unread >= WINDOW_MESSAGES or (unread > 0 and self._unread_bytes + size > WINDOW_BYTES)

    def _carry(self, data: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        delay = self._network.carry(Packet(self._source, self._target, data or b""))
        self._last_landing = max(self._last_landing, loop.time() + delay)
        self._wire.append(data)
        loop.call_at(self._last_landing, self._land)

    def _land(self) -> None:
        """The oldest message on the wire reaches the other host, or waits until the path is back."""
        if self._network.severed(self._source[0], self._target[0]):
            self._stuck += 1
        elif self._wire:
            data = self._wire.popleft()
            if data is None:
                self._over = self._over or self.ended
                self._cable.hang_up(self._over or "")
            elif self._over is None:
                self._arrived.append(data)
            self._readable.set()
