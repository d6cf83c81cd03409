"""A visit: a short conversation over TLS with a listener that this node may not be a member of, or does not want a link to.

Joining and renewing are visits. Both ends hold a `Visit`: small messages in order, and the other end's certificate. It is a
WebSocket like a link, so a nonce can belong to one connection and sizes are checked before anything is buffered.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from node.links.tls import peer_certificate
from node.links.websocket import Socket, client_session, dial_websocket, next_message
from protocol.errors import Unreachable

MAX_VISIT = 4_096
"""Bytes of one message."""


class Visit:
    """One end of a visit. Deadlines are the door's at the listener and the caller's at the visitor."""

    def __init__(self, socket: Socket, host: str, certificate: bytes) -> None:
        self.host = host
        """The visitor's IP address at the listener; the address as dialled at the visitor."""
        self.certificate = certificate
        """What the other end showed in TLS, DER; empty when nothing. Whether OpenSSL verified it is up to the context in use."""
        self._socket = socket

    async def send(self, data: bytes) -> None:
        """Raises `Unreachable` when the other end is gone."""
        try:
            await self._socket.send_bytes(data)
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.host} hung up: {error}") from error

    async def receive(self) -> bytes:
        """Raises `Unreachable` when the other end is gone, `TooLarge` or `Malformed` for what is no message."""
        return await next_message(self._socket, MAX_VISIT, self.host)


VisitHandler = Callable[[Visit], Awaitable[None]]
"""Serves one visit; the connection is closed when it returns, and by the door's deadline in any case."""


@asynccontextmanager
async def visit(address: str, path: str, context: ssl.SSLContext) -> AsyncIterator[Visit]:
    """Pay a visit to HOST:PORT. Raises `Unreachable`, or `BadSignature` where the context verifies and the peer fails."""
    async with client_session() as session:
        socket = await dial_websocket(session, address, path, context, limit=MAX_VISIT)
        try:
            yield Visit(socket, address, peer_certificate(socket.get_extra_info("ssl_object")))
        finally:
            await socket.close()
