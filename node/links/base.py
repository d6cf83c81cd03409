"""The seam to other machines.

A *link* is an ordered, authenticated, message-framed pipe to one NodeId with back-pressure. A `LinkFactory` listens and dials.
The transports: `wss` (mutual TLS 1.3 WebSocket) and `memory` (the simulator's). Code above links never learns which it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from protocol.identity import Member, NodeId


class Link(ABC):
    """One live pipe to one authenticated peer."""

    peer: Member
    """Who is at the other end, from its verified certificate."""
    address: str
    """The address that was dialled, HOST:PORT, or the peer's socket address for a link that came in."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Queue one message of at most `MAX_FRAME` bytes; waits while the peer reads slowly (back-pressure).

        Raises `Unreachable` when the link is closed or the peer has not read for `STALL_S` seconds; the link is then closed.
        """

    @abstractmethod
    async def receive(self) -> bytes:
        """The next message. Raises `Unreachable` when the link is closed, `TooLarge` when the peer sent too long a one."""

    @abstractmethod
    async def close(self, reason: str = "") -> None:
        """Close both directions; idempotent and bounded in time."""


LinkHandler = Callable[[Link], Awaitable[None]]
"""Called once per incoming link; the link is closed when it returns. A `PeerError` out of it is the link's end, not a failure."""


class LinkFactory(ABC):
    """Listens for links and dials them."""

    @abstractmethod
    async def listen(self, host: str, port: int, handler: LinkHandler) -> tuple[str, int]:
        """Start accepting; returns the bound (host, port). Raises `Conflict` when the port is taken."""

    @abstractmethod
    async def dial(self, address: str, expect: NodeId | None, timeout: float) -> Link:
        """Open a link to HOST:PORT. Raises `Unreachable`, or `BadSignature` when the peer is not a member or not `expect`."""

    @abstractmethod
    async def close(self) -> None:
        """Stop listening and close every link; bounded in time."""


STALL_S = 10.0
"""A peer that does not read for this long loses its link."""
SILENCE_S = 15.0
"""A peer that vanished without a word (power cut, cable pulled) loses its link within this time."""
