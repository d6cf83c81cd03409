"""Nodes that admit others over real TLS on loopback, and one that lies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from node.admission import Admission
from node.joining import join
from node.keyring import Issuer
from node.links.base import Link
from node.links.visit import Visit
from node.links.wss import WssFactory
from node.runtime import SystemRuntime
from node.testing import MemoryTokenBook, Swarm
from protocol.admission import (
    NONCE_BYTES,
    Offer,
    encode,
)
from protocol.identity import Credentials, NodeKey
from protocol.token import Token

RUNTIME = SystemRuntime()
ASK_S = 30.0


class Gate:
    """A node that serves admission on loopback; a keeper unless told otherwise."""

    def __init__(self, swarm: Swarm, *, keeper: bool = True, knows: Sequence[str] = ()) -> None:
        self.credentials = swarm.credentials(keeper=keeper)
        self.book = MemoryTokenBook()
        issuer = Issuer(swarm.keeper_key, swarm.keeper, swarm.root) if keeper else None
        self.admission = Admission(RUNTIME, self.credentials, issuer, self.book, lambda: knows)
        self.address = ""

    async def token(self, ttl_s: float = 60, uses: int = 1) -> Token:
        return (await self.admission.create_token(ttl_s, uses))[0]


async def no_links(link: Link) -> None:
    await link.close()


@asynccontextmanager
async def serving(*gates: Gate) -> AsyncIterator[None]:
    factories = [WssFactory(gate.credentials, gate.admission.visits()) for gate in gates]
    try:
        for gate, factory in zip(gates, factories, strict=True):
            host, port = await factory.listen("127.0.0.1", 0, no_links)
            gate.address = f"{host}:{port}"
        yield
    finally:
        for factory in factories:
            await factory.close()


@asynccontextmanager
async def impostor(credentials: Credentials, offer: Callable[[bytes], Offer]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A hostile listener: makes what offer it likes and writes down everything it hears."""
    heard: list[bytes] = []

    async def listen(caller: Visit) -> None:
        await caller.send(encode(offer(RUNTIME.token_bytes(NONCE_BYTES))))
        heard.append(await caller.receive())

    factory = WssFactory(credentials, {"/join": listen})
    host, port = await factory.listen("127.0.0.1", 0, no_links)
    try:
        yield f"{host}:{port}", heard
    finally:
        await factory.close()


async def try_join(address: str, token: Token, key: NodeKey | None = None) -> Credentials:
    return await join(address, token, key or Swarm(RUNTIME).new_key(), RUNTIME, ASK_S)
