"""The client side of WebSockets as links and visits use them, and what their failures mean in our errors."""

from __future__ import annotations

import os
import ssl
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from node.links.tls import concerns_identity, explain
from protocol.address import split_address
from protocol.errors import BadSignature, InvalidRequest, Malformed, PeerError, TooLarge, Unreachable

CLOSE_S = 0.5
"""What a peer has to answer a close; then the connection is cut."""
MAX_REASON = 120
"""Bytes of a close reason (RFC 6455, section 5.5: a control frame carries 125, of which 2 are the code)."""


class ClientSocket(aiohttp.ClientWebSocketResponse):
    """Knows its transport, so that a connection can be cut when its peer no longer reads."""

    def __init__(self, reader: Any, writer: Any, *args: Any, **options: Any) -> None:
        super().__init__(reader, writer, *args, **options)
        self.transport: Any = writer.transport


Socket = web.WebSocketResponse | ClientSocket


def client_session() -> aiohttp.ClientSession:
    """No cookies, no proxies, no redirects, no reuse: every connection is one dial to one peer."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        ws_response_class=ClientSocket,
        middlewares=(_no_redirects,),
        auto_decompress=False,
    )


async def dial_websocket(
    session: aiohttp.ClientSession, address: str, path: str, context: ssl.SSLContext, *, limit: int, heartbeat: float | None = None
) -> ClientSocket:
    """Open wss://HOST:PORT/path. Raises `Unreachable`, or `BadSignature` when either side finds the other's certificate wanting."""
    try:
        host, port = split_address(address)
        url = URL.build(scheme="wss", host=host, port=port, path=path)
        socket = await session.ws_connect(
            url, ssl=context, max_msg_size=limit + 1, compress=0, heartbeat=heartbeat, timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
        )
    except aiohttp.WSServerHandshakeError as error:
        raise Unreachable(f"{address} answers, but not as a moot node (HTTP {error.status} for {path})") from error
    except aiohttp.ServerDisconnectedError as error:  # asyncio's server sends no TLS alert, so this is all a refused client sees
        raise Unreachable(
            f"{address} hung up before it answered: it may be stopping, or find this node's certificate expired (check both clocks)"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _failure(address, error) from error
    except (InvalidRequest, ValueError) as error:
        raise Unreachable(f"cannot dial '{address[:80]}': {error}") from error
    assert isinstance(socket, ClientSocket)
    return socket


async def next_message(socket: Socket, limit: int, who: str) -> bytes:
    """The next binary message. Raises `Unreachable` when the connection is over, `TooLarge`, or `Malformed` for text."""
    message = await socket.receive()
    if message.type is aiohttp.WSMsgType.BINARY:
        return bytes(message.data)
    raise _lost(socket, message, limit, who)


def _lost(socket: Socket, message: aiohttp.WSMessage, limit: int, who: str) -> PeerError:
    if message.type is aiohttp.WSMsgType.TEXT:
        return Malformed(f"{who} sent text; messages are binary")
    if isinstance(message.data, aiohttp.WebSocketError) and message.data.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return TooLarge(f"{who} sent a message over {limit} bytes")
    if message.type is aiohttp.WSMsgType.CLOSE and message.extra:
        reason = "".join(character for character in str(message.extra)[:MAX_REASON] if character.isprintable())
        return Unreachable(f"{who} closed the connection: {reason}")
    failure = socket.exception() or (message.data if isinstance(message.data, BaseException) else None)
    return _failure(who, failure) if failure is not None else Unreachable(f"{who} closed the connection")


def _failure(who: str, error: BaseException) -> PeerError:
    """A transport's error in our words. A refused certificate comes to light only here, since TLS 1.3 ends on the client first."""
    tls = _tls_error(error)
    if tls is not None:
        kind = BadSignature if concerns_identity(tls) else Unreachable
        return kind(f"no connection with {who}: {explain(tls)}")
    cause = getattr(error, "os_error", error)
    code = getattr(cause, "errno", None)
    reason = os.strerror(code) if code is not None and code > 0 else str(getattr(cause, "strerror", None) or cause or type(error).__name__)
    return Unreachable(f"{who} cannot be reached: {reason}")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error under an aiohttp error, if that is what it is."""
    while error is not None:
        for candidate in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error):
            if isinstance(candidate, ssl.SSLError):
                return candidate
        error = error.__cause__ or error.__context__
    return None


async def _no_redirects(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A peer must not send this node's requests elsewhere."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.ClientPayloadError("the peer answered with a redirect")
    return response
