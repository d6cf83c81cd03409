"""Links as WebSockets over mutual TLS 1.3: one listener for members' links and for visitors (joining, renewing).

    factory = WssFactory(credentials, visits=admission.visits())
    host, port = await factory.listen(config.host, config.port, exchange.accept)
    exchange = Exchange(runtime, factory, ...)            # dials through factory.dial
    factory.renew(new_credentials)                        # after a renewal; live links stay as they are
    await factory.close()

`/link` wants a certificate of the swarm and gives a link; every path in `visits` takes anybody. In TLS 1.3 a client learns only
from its first read that it was refused, so `dial` returns when the server has answered the upgrade, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import structlog
from aiohttp import web

from node.links.base import SILENCE_S, STALL_S, Link, LinkFactory, LinkHandler
from node.links.door import MAX_STRANGERS, STRANGER_S, Door
from node.links.tls import client_context, peer_certificate, server_context
from node.links.visit import MAX_VISIT, Visit, VisitHandler
from node.links.websocket import CLOSE_S, MAX_REASON, Socket, client_session, dial_websocket, next_message
from protocol.address import join_address
from protocol.codec import MAX_FRAME
from protocol.errors import BadSignature, LocalError, PeerError, TooLarge, Unreachable
from protocol.identity import Credentials, Member, NodeId, describe_leaf, show_id

LINK_PATH = "/link"
SHUTDOWN_S = 0.5
HEARTBEAT_S = SILENCE_S * 0.6
"""A ping after this silence, and half of it again for the pong: 0.9 of SILENCE_S, the rest for aiohttp's rounding to seconds."""

log = structlog.get_logger("links")


class WssLink(Link):
    """One WebSocket to one member."""

    def __init__(self, socket: Socket, transport: asyncio.Transport, peer: Member, address: str, stall_s: float) -> None:
        self.peer = peer
        self.address = address
        self._socket = socket
        self._transport = transport
        self._stall_s = stall_s
        self._turn = asyncio.Lock()
        self._sending_since: float | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ended: str | None = None
        self.closed = False

    async def send(self, data: bytes) -> None:
        if len(data) > MAX_FRAME:
            raise TooLarge(f"a message of {len(data)} bytes; the limit is {MAX_FRAME}")
        async with self._turn:  # one sender at a time: what is buffered stays below one message and the transport's limit
            if self._ended is None:
                self._watch_stall()
                try:
                    await self._socket.send_bytes(data)
                except (aiohttp.ClientError, OSError) as error:
                    self._cut(f"the link to {self.address} is lost: {error}")
                finally:
                    self._sending_since = None
            if self._ended is not None:
                raise Unreachable(self._ended)

    async def receive(self) -> bytes:
        if self._ended is not None:
            raise Unreachable(self._ended)
        try:
            return await next_message(self._socket, MAX_FRAME, self.address)
        except PeerError as error:
            self._cut(str(error))
            raise

    async def close(self, reason: str = "") -> None:
        if self.closed:
            return
        self.closed = True
        self._ended = self._ended or "this node closed the link"
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(message=reason.encode()[:MAX_REASON])
        except TimeoutError:
            log.debug("a peer did not answer the close", peer=show_id(self.peer.node_id))
        finally:
            self._transport.abort()
            if self._stall_timer is not None:
                self._stall_timer.cancel()

    def _cut(self, why: str) -> None:
        """The connection is of no more use: give its socket and buffers back at once."""
        self._ended = self._ended or why
        self._transport.abort()

    def _watch_stall(self) -> None:
        """One timer for a link and not for a message: `asyncio.timeout` around each send costs a third of the throughput."""
        loop = asyncio.get_running_loop()
        self._sending_since = loop.time()
        if self._stall_timer is None:
            self._stall_timer = loop.call_later(self._stall_s, self._check_stall, loop)

    def _check_stall(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stall_timer = None
        if self._sending_since is None or self._ended is not None:
            return
        left = self._sending_since + self._stall_s - loop.time()
        if left > 0:
            self._stall_timer = loop.call_later(left, self._check_stall, loop)
        else:
            self._cut(f"{self.address} has not read for {self._stall_s:.1f} s")


class WssFactory(LinkFactory):
    """Listens and dials with one node's credentials. `visits` maps a path to who serves visitors there."""

    def __init__(
        self,
        credentials: Credentials,
        visits: Mapping[str, VisitHandler] | None = None,
        *,
        stall_s: float = STALL_S,
        heartbeat_s: float = HEARTBEAT_S,
        stranger_s: float = STRANGER_S,
        max_strangers: int = MAX_STRANGERS,
    ) -> None:
        self._visits = dict(visits or {})
        self._stall_s = stall_s
        self._heartbeat_s = heartbeat_s
        self._stranger_s = stranger_s
        self._max_strangers = max_strangers
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._door: Door | None = None
        self._links: set[WssLink] = set()
        self.renew(credentials)

    def renew(self, credentials: Credentials) -> None:
        """Use these credentials for every connection from now on."""
        self._server_context = server_context(credentials)
        self._client_context = client_context(credentials)

    async def listen(self, host: str, port: int, handler: LinkHandler) -> tuple[str, int]:
        if self._door is not None:
            raise LocalError("a factory listens once")
        application = web.Application()
        application.router.add_get(LINK_PATH, self._link_route(handler))
        for path, serve in self._visits.items():
            application.router.add_get(path, self._visit_route(serve))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        if self._runner.server is None:
            raise LocalError("the HTTP server did not start")
        self._door = Door(self._runner.server, lambda: self._server_context, stranger_s=self._stranger_s, max_strangers=self._max_strangers)
        return await self._door.open(host, port)

    async def dial(self, address: str, expect: NodeId | None, timeout: float) -> Link:
        try:
            async with asyncio.timeout(timeout):
                socket = await dial_websocket(
                    self._client_session(), address, LINK_PATH, self._client_context, limit=MAX_FRAME, heartbeat=self._heartbeat_s
                )
        except TimeoutError as error:
            raise Unreachable(f"{address} did not answer within {timeout:.1f} s") from error
        member = describe_leaf(peer_certificate(socket.get_extra_info("ssl_object")))
        link = self._keep(WssLink(socket, socket.transport, member, address, self._stall_s))
        if expect is not None and member.node_id != expect:
            await link.close("you are not who this node wanted to reach")
            raise BadSignature(f"{address} is node {show_id(member.node_id)}, not {show_id(expect)}")
        return link

    async def close(self) -> None:
        if self._door is not None:
            await self._door.close()
        await asyncio.gather(*(link.close("the node is stopping") for link in self._links))
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _client_session(self) -> aiohttp.ClientSession:
        """Made on the first dial: it wants a running loop."""
        if self._session is None:
            self._session = client_session()
        return self._session

    def _keep(self, link: WssLink) -> WssLink:
        self._links = {known for known in self._links if not known.closed} | {link}
        return link

    def _link_route(self, handler: LinkHandler) -> _Route:
        async def serve(request: web.Request) -> web.StreamResponse:
            caller = _Caller(request)
            if not caller.certificate:
                raise web.HTTPForbidden(text="a link wants a certificate of this swarm: join first")
            socket = web.WebSocketResponse(timeout=CLOSE_S, heartbeat=self._heartbeat_s, compress=False, max_msg_size=MAX_FRAME + 1)
            await socket.prepare(request)
            self._admit(caller)
            member = describe_leaf(caller.certificate)
            link = self._keep(WssLink(socket, caller.transport, member, join_address(caller.host, caller.port), self._stall_s))
            try:
                await handler(link)
            except PeerError as error:
                log.debug("link ended", peer=show_id(member.node_id), reason=str(error))
            finally:
                await link.close()
            return socket

        return serve

    def _visit_route(self, handler: VisitHandler) -> _Route:
        async def serve(request: web.Request) -> web.StreamResponse:
            caller = _Caller(request)
            socket = web.WebSocketResponse(timeout=CLOSE_S, compress=False, max_msg_size=MAX_VISIT + 1)
            await socket.prepare(request)
            try:
                await handler(Visit(socket, caller.host, caller.certificate))
            except PeerError as error:
                log.info("visit ended early", peer=caller.host, path=request.path, reason=str(error))
            finally:
                await socket.close()
                self._admit(caller)
            return socket

        return serve

    def _admit(self, caller: _Caller) -> None:
        if self._door is not None:
            self._door.admit(caller.transport)


_Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Caller:
    """Who is at the other end of a request. The certificate has been verified by TLS, or is empty."""

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise web.HTTPBadRequest(text="the connection is closed")
        self.transport = transport
        self.certificate = peer_certificate(transport.get_extra_info("ssl_object"))
        peername: tuple[str, int] = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.host, self.port = peername
