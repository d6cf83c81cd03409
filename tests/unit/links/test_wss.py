"""The TLS WebSocket link on real loopback sockets: who gets one, who does not, and what a hostile peer can cost."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from node.links.tls import client_context, server_context, stranger_context
from node.links.visit import visit
from node.runtime import SystemRuntime
from node.testing import Swarm
from protocol.codec import MAX_FRAME
from protocol.errors import BadSignature, Conflict, InvalidRequest, Malformed, TooLarge, Unreachable
from tests.unit.links.sockets import DIAL_S, PATIENCE_S, Node, dialler, listening, raw_websocket


async def test_other_swarm_is_refused_by_the_dialler_in_one_clear_sentence(swarm: Swarm) -> None:
    stranger = Swarm(SystemRuntime()).credentials()
    async with listening(swarm.credentials()) as node, dialler(stranger) as factory:
        with pytest.raises(BadSignature, match=f"{node.address}: it belongs to another swarm"):
            await factory.dial(node.address, None, DIAL_S)


async def test_other_swarm_is_refused_by_the_listener_too(swarm: Swarm) -> None:
    stranger = client_context(Swarm(SystemRuntime()).credentials())
    stranger.verify_mode = ssl.CERT_NONE
    async with listening(swarm.credentials()) as node:
        with pytest.raises(Unreachable, match="hung up before it answered"):
            async with visit(node.address, "/link", stranger):
                pass
        assert node.incoming.empty()


async def test_no_certificate_gets_no_link(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node:
        with pytest.raises(Unreachable, match="HTTP 403"):
            async with visit(node.address, "/link", stranger_context()):
                pass
        assert node.incoming.empty()


async def test_expired_certificate_is_refused_on_both_sides(swarm: Swarm) -> None:
    expired = swarm.credentials(age_s=100, ttl=timedelta(seconds=50))
    async with listening(swarm.credentials()) as node, dialler(expired) as factory:
        with pytest.raises(Unreachable, match="expired"):
            await factory.dial(node.address, None, DIAL_S)
    async with listening(expired) as node, dialler(swarm.credentials()) as factory:
        with pytest.raises(BadSignature, match="expired or is not yet valid"):
            await factory.dial(node.address, None, DIAL_S)


async def test_another_node_than_expected_is_refused(swarm: Swarm) -> None:
    mine = swarm.credentials()
    async with listening(swarm.credentials()) as node, dialler(mine) as factory:
        with pytest.raises(BadSignature, match=r" is node .*, not "):
            await factory.dial(node.address, mine.node_id, DIAL_S)


async def test_nobody_there_wrong_service_and_nonsense_are_told_apart(swarm: Swarm) -> None:
    async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    http = await asyncio.start_server(serve_http, "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with dialler(swarm.credentials()) as factory, http:
            silent_port, http_port = silent.getsockname()[1], http.sockets[0].getsockname()[1]
            for address, words, patience in [
                ("127.0.0.1:1", "Connection refused", DIAL_S),
                (f"127.0.0.1:{silent_port}", "did not answer within 0.2 s", 0.2),
                (f"127.0.0.1:{http_port}", "does not speak moot's TLS", DIAL_S),
                ("no port", "not an address", DIAL_S),
                ("256.1.1.1:80", "cannot be reached", DIAL_S),
            ]:
                with pytest.raises(Unreachable, match=words):
                    await factory.dial(address, None, patience)


async def test_good_link_carries_messages_both_ways_and_knows_both_ends(swarm: Swarm) -> None:
    mine, theirs = swarm.credentials(), swarm.credentials(keeper=True)
    async with listening(theirs) as node, dialler(mine) as factory:
        near = await factory.dial(node.address, theirs.node_id, DIAL_S)
        far = await node.incoming.get()
        assert (near.peer.node_id, near.peer.keeper) == (theirs.node_id, True)
        assert (far.peer.node_id, far.peer.keeper) == (mine.node_id, False)
        assert near.address == node.address
        for size in (0, 1, 70_000, MAX_FRAME):
            await near.send(bytes(size))
            assert await far.receive() == bytes(size)
        await far.send(b"back")
        assert await near.receive() == b"back"


async def test_close_is_seen_by_the_other_end_with_its_reason(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node, dialler(swarm.credentials()) as factory:
        near = await factory.dial(node.address, None, DIAL_S)
        far = await node.incoming.get()
        waiting = asyncio.create_task(near.receive())
        await far.send(b"last")
        assert await waiting == b"last"
        waiting = asyncio.create_task(near.receive())
        await far.close("good night")
        with pytest.raises(Unreachable, match="good night"):
            await waiting
        with pytest.raises(Unreachable):
            await near.send(b"too late")
        with pytest.raises(Unreachable, match="this node closed"):
            await far.receive()
        await near.close()
        await near.close()


async def test_message_over_the_limit_is_not_sent(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node, dialler(swarm.credentials()) as factory:
        near = await factory.dial(node.address, None, DIAL_S)
        with pytest.raises(TooLarge):
            await near.send(bytes(MAX_FRAME + 1))


async def test_hundred_megabyte_frame_ends_the_link_without_being_buffered(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node, raw_websocket(node, swarm.credentials()) as socket:
        far = await node.incoming.get()
        transport = socket._writer.transport
        header = bytes([0x82, 0x80 | 127]) + (100 * 1024 * 1024).to_bytes(8, "big") + b"mask"
        transport.write(header)  # only the length: the refusal must not wait for the payload
        with pytest.raises(TooLarge, match="over 8388608 bytes"):
            await far.receive()
        with pytest.raises(Unreachable):
            await far.send(b"the link is gone")


async def test_text_frame_ends_the_link(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node, raw_websocket(node, swarm.credentials()) as socket:
        far = await node.incoming.get()
        await socket.send_str("hello")
        with pytest.raises(Malformed, match="binary"):
            await far.receive()


async def test_peer_that_stops_reading_loses_its_link_and_the_buffer_stays_bounded(swarm: Swarm) -> None:
    async with listening(swarm.credentials(), stall_s=0.3) as node, dialler(swarm.credentials()) as factory:
        near = await factory.dial(node.address, None, DIAL_S)
        far = await node.incoming.get()
        near._transport.pause_reading()  # type: ignore[attr-defined]  # the peer's process has stopped
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await far.send(bytes(1_048_576))
                sent += 1

        with pytest.raises(Unreachable, match=r"has not read for 0\.3 s"):
            await asyncio.gather(flood(), flood(), flood())
        assert sent < 32
        with pytest.raises(Unreachable):
            await far.receive()


async def test_silent_peer_is_noticed_by_the_heartbeat(swarm: Swarm) -> None:
    async with listening(swarm.credentials(), heartbeat_s=0.1) as node, dialler(swarm.credentials()) as factory:
        near = await factory.dial(node.address, None, DIAL_S)
        far = await node.incoming.get()
        near._transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(Unreachable):
            async with asyncio.timeout(PATIENCE_S):
                await far.receive()


async def test_port_in_use_is_a_conflict_with_a_remedy(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node, dialler(swarm.credentials()) as other:
        with pytest.raises(Conflict, match=rf"Port {node.port} .* in use: .*--port"):
            await other.listen("127.0.0.1", node.port, node._keep)


async def test_foreign_address_cannot_be_listened_on(swarm: Swarm) -> None:
    async with dialler(swarm.credentials()) as factory:
        with pytest.raises(InvalidRequest, match="--host"):
            await factory.listen("192.0.2.1", 0, lambda link: asyncio.sleep(0))


async def test_renewed_certificate_is_used_for_new_links_and_old_ones_stay(swarm: Swarm) -> None:
    key = swarm.new_key()
    async with listening(swarm.credentials(key, ttl=timedelta(hours=1))) as node, dialler(swarm.credentials()) as factory:
        before = await factory.dial(node.address, None, DIAL_S)
        node.factory.renew(swarm.credentials(key, ttl=timedelta(days=20)))
        after = await factory.dial(node.address, key.node_id, DIAL_S)
        assert after.peer.expires_at > before.peer.expires_at + 86_400
        await before.send(b"still up")
        assert await (await node.incoming.get()).receive() == b"still up"


async def test_key_is_never_readable_by_others_and_leaves_no_file(swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    load: Callable[..., None] = ssl.SSLContext.load_cert_chain

    def spy(self: ssl.SSLContext, certfile: Path) -> None:
        seen.append((stat.S_IMODE(os.stat(certfile).st_mode), stat.S_IMODE(os.stat(certfile.parent).st_mode)))
        load(self, certfile)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client_context(swarm.credentials())
    assert seen == [(0o600, 0o700)]
    assert list(tmp_path.iterdir()) == []


async def test_redirect_is_not_followed(swarm: Swarm) -> None:
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    application = web.Application()
    application.router.add_get("/link", redirect)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(swarm.credentials()))
    await site.start()
    async with dialler(swarm.credentials()) as factory:
        with pytest.raises(Unreachable, match="redirect"):
            await factory.dial(f"127.0.0.1:{runner.addresses[0][1]}", None, DIAL_S)
    await runner.cleanup()


async def test_factory_closes_quickly_with_links_up_and_strangers_waiting(swarm: Swarm) -> None:
    loop = asyncio.get_running_loop()
    node = Node(swarm.credentials())
    _, port = await node.factory.listen("127.0.0.1", 0, node._keep)
    async with dialler(swarm.credentials()) as factory:
        links = [await factory.dial(f"127.0.0.1:{port}", None, DIAL_S) for _ in range(5)]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        started = loop.time()
        await node.close()
        assert loop.time() - started < 20.0  # aiohttp itself waits for a minute
        for link in links:
            with pytest.raises(Unreachable):
                await link.receive()
        writer.close()
