"""`/v1/events`, both ways."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from node.http.app import build_app
from node.http.server import ApiServer
from node.http.services import Limits
from tests.unit.http.conftest import Listen, Serve
from tests.unit.http.fakes import FakeDaemon

SSE = {"Accept": "text/event-stream"}


async def test_server_sent_events_arrive_with_their_name(client: ClientSession, daemon: FakeDaemon) -> None:
    async with client.get("/v1/events", headers=SSE) as reply:
        assert await reply.content.readuntil(b"\n\n") == b": moot events\n\n"
        daemon.bus.emit("birth", {"agent_id": "a"})
        name, data = (await reply.content.readuntil(b"\n\n")).decode().strip().split("\n")
    assert name == "event: birth"
    assert json.loads(data.removeprefix("data: "))["data"] == {"agent_id": "a"}


async def test_a_websocket_gets_one_event_a_message(client: ClientSession, daemon: FakeDaemon) -> None:
    async with client.ws_connect("/v1/events") as socket:
        daemon.bus.emit("birth", {"agent_id": "a"})
        assert (await socket.receive_json())["data"] == {"agent_id": "a"}


async def test_a_foreign_page_gets_no_websocket(client: ClientSession) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect("/v1/events", headers={"Origin": "http://evil.example"})
    assert refused.value.status == 403


async def test_neither_form_asked_for_is_406(client: ClientSession) -> None:
    async with client.get("/v1/events") as reply:
        assert reply.status == 406


async def test_streams_are_limited_and_their_places_come_back(serve: Serve) -> None:
    client = await serve(None, Limits(streams=1))
    async with client.ws_connect("/v1/events"), client.get("/v1/events", headers=SSE) as reply:
        assert reply.status == 429
    status = 429
    async with asyncio.timeout(30):
        while status == 429:  # the server learns of the hang-up a moment later
            async with client.get("/v1/events", headers=SSE) as reply:
                status = reply.status
    assert status == 200


async def test_shutdown_does_not_wait_for_open_streams(daemon: FakeDaemon) -> None:
    server = ApiServer(build_app(daemon.services()), "127.0.0.1", 0)
    await server.start()
    async with (
        ClientSession(server.url) as client,
        client.ws_connect("/v1/events") as socket,
        client.get("/v1/events", headers=SSE) as reply,
    ):
        await reply.content.readuntil(b"\n\n")
        closing = asyncio.create_task(server.close())
        assert (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
        async with asyncio.timeout(20):
            await closing  # aiohttp itself waits for a minute


async def test_a_client_that_stops_reading_is_cut_off(listen: Listen, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.http.sse.STALL_S", 0.2)
    server = await listen(None, Limits(streams=1))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    await reader.readexactly(1)
    status = 429
    async with asyncio.timeout(60), ClientSession(server.url) as client:
        while status == 429:
            for _ in range(50):
                daemon.bus.emit("message", {"body": "x" * 16_384})
            async with client.get("/v1/events", headers=SSE) as reply:
                status = reply.status
    writer.close()
    assert status == 200
