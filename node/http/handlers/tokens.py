"""Join tokens: made, listed and revoked on the keeper that redeems them."""

from __future__ import annotations

from node.http.routes import Call
from protocol.api.nodes import TokenInfo, TokenReply, TokenRequest


async def create(call: Call[TokenRequest]) -> TokenReply:
    return await call.services.tokens.create(call.body)


async def listing(call: Call[None]) -> list[TokenInfo]:
    return await call.services.tokens.list()


async def revoke(call: Call[None]) -> None:
    await call.services.tokens.revoke(call.path("id"))
