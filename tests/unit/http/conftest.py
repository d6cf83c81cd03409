"""A real socket in front of a fake daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from node.http.access import Access
from node.http.app import build_app
from node.http.server import ApiServer
from node.http.services import Limits
from tests.unit.http.fakes import FakeDaemon

Listen = Callable[..., Awaitable[ApiServer]]
Serve = Callable[..., Awaitable[ClientSession]]


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
async def listen(daemon: FakeDaemon) -> AsyncIterator[Listen]:
    """`await listen(access, limits)` starts an API on port 0."""
    async with AsyncExitStack() as stack:

        async def start(access: Access | None = None, limits: Limits | None = None) -> ApiServer:
            return await stack.enter_async_context(ApiServer(build_app(daemon.services(access, limits)), "127.0.0.1", 0))

        yield start


@pytest.fixture
async def serve(listen: Listen) -> AsyncIterator[Serve]:
    """`await serve(access, limits)` starts an API and returns a client of it."""
    async with AsyncExitStack() as stack:

        async def start(access: Access | None = None, limits: Limits | None = None) -> ClientSession:
            return await stack.enter_async_context(ClientSession((await listen(access, limits)).url))

        yield start


@pytest.fixture
async def client(serve: Serve) -> ClientSession:
    return await serve()
