"""Nodes on real loopback sockets, as the tests of links use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from node.links.base import Link
from node.links.tls import client_context
from node.links.wss import WssFactory
from protocol.identity import Credentials

DIAL_S = 30.0
PATIENCE_S = 30.0
"""For what should be over in a moment."""
SHORT_S = 1.0
"""A deadline for strangers that is waited out, and that a handshake on a busy machine still meets."""


class Node:
    """A listening factory that keeps incoming links open and hands them to the test."""

    def __init__(self, credentials: Credentials, **options: Any) -> None:
        self.credentials = credentials
        self.factory = WssFactory(credentials, **options)
        self.incoming: asyncio.Queue[Link] = asyncio.Queue()
        self.address = ""
        self.port = 0
        self._closing = asyncio.Event()

    async def _keep(self, link: Link) -> None:
        await self.incoming.put(link)
        await self._closing.wait()

    async def close(self) -> None:
        self._closing.set()
        await self.factory.close()


@asynccontextmanager
async def listening(credentials: Credentials, **options: Any) -> AsyncIterator[Node]:
    node = Node(credentials, **options)
    host, node.port = await node.factory.listen("127.0.0.1", 0, node._keep)
    node.address = f"{host}:{node.port}"
    try:
        yield node
    finally:
        await node.close()


@asynccontextmanager
async def dialler(credentials: Credentials, **options: Any) -> AsyncIterator[WssFactory]:
    factory = WssFactory(credentials, **options)
    try:
        yield factory
    finally:
        await factory.close()


@asynccontextmanager
async def raw_websocket(node: Node, credentials: Credentials) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A member that does not keep to the protocol."""
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"wss://{node.address}/link", ssl=client_context(credentials), max_msg_size=0, compress=0)
        yield socket
        await socket.close()
