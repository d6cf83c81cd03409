"""What those without a certificate can do at a node's door: little, and not for long; and visitors, who are served."""

from __future__ import annotations

import asyncio

import pytest

from node.links.tls import client_context, stranger_context
from node.links.visit import MAX_VISIT, Visit, visit
from node.testing import Swarm
from protocol.errors import TooLarge, Unreachable
from tests.unit.links.sockets import DIAL_S, PATIENCE_S, SHORT_S, dialler, listening


async def test_random_bytes_on_the_port_cost_nothing_and_links_still_work(swarm: Swarm) -> None:
    async with listening(swarm.credentials()) as node, dialler(swarm.credentials()) as factory:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 16, b"\x16\x03\x01\xff\xff" + bytes(64)):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(garbage)
            async with asyncio.timeout(PATIENCE_S):
                while await reader.read(4096):
                    pass
            writer.close()
        await factory.dial(node.address, node.credentials.node_id, DIAL_S)


@pytest.mark.parametrize("opening", [b"", b"\x16\x03\x01\x02"], ids=["silent", "half a handshake"])
async def test_slow_stranger_is_cut_off(swarm: Swarm, opening: bytes) -> None:
    async with listening(swarm.credentials(), stranger_s=0.2) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(opening)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_slow_headers_after_tls_are_cut_off(swarm: Swarm) -> None:
    async with listening(swarm.credentials(), stranger_s=SHORT_S) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=stranger_context())
        writer.write(b"GET /link HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_crowd_of_idle_strangers_does_not_keep_a_member_out(swarm: Swarm) -> None:
    async with listening(swarm.credentials(), max_strangers=8) as node, dialler(swarm.credentials()) as factory:
        crowd = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(12)]
        link = await factory.dial(node.address, None, DIAL_S)
        await link.send(b"through")
        assert await (await node.incoming.get()).receive() == b"through"
        async with asyncio.timeout(PATIENCE_S):
            assert await crowd[0][0].read() == b""
        for _, writer in crowd:
            writer.close()


async def test_link_outlives_the_strangers_deadline(swarm: Swarm) -> None:
    async with listening(swarm.credentials(), stranger_s=SHORT_S) as node, dialler(swarm.credentials()) as factory:
        near = await factory.dial(node.address, None, DIAL_S)
        far = await node.incoming.get()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2 * SHORT_S):
                await far.receive()
        await near.send(b"still here")
        assert await far.receive() == b"still here"


async def test_visitor_without_certificate_is_served_and_a_member_is_recognised(swarm: Swarm) -> None:
    async def greet(caller: Visit) -> None:
        await caller.send(caller.certificate or b"nobody")
        await caller.send(await caller.receive())

    member = swarm.credentials()
    async with listening(swarm.credentials(), visits={"/greet": greet}) as node:
        async with visit(node.address, "/greet", stranger_context()) as call:
            assert call.certificate == node.credentials.leaf
            assert await call.receive() == b"nobody"
            await call.send(b"echo")
            assert await call.receive() == b"echo"
        async with visit(node.address, "/greet", client_context(member)) as call:
            assert await call.receive() == member.leaf


async def test_long_visit_message_is_refused_and_slow_visitor_is_cut_off(swarm: Swarm) -> None:
    failures: list[Exception] = []

    async def listen(caller: Visit) -> None:
        try:
            await caller.receive()
        except (TooLarge, Unreachable) as error:
            failures.append(error)
            raise

    async with listening(swarm.credentials(), visits={"/join": listen}, stranger_s=SHORT_S) as node:
        async with visit(node.address, "/join", stranger_context()) as call:
            await call.send(bytes(MAX_VISIT + 1))
            with pytest.raises(Unreachable):
                await call.receive()
        async with visit(node.address, "/join", stranger_context()) as call:
            with pytest.raises(Unreachable):
                async with asyncio.timeout(PATIENCE_S):
                    await call.receive()
    assert [type(failure) for failure in failures] == [TooLarge, Unreachable]
