"""The shared memory, by text key."""

from __future__ import annotations

from typing import Any

from node.http.routes import Call
from protocol.api.memory import DhtPut, DhtPutReply, DhtValues
from protocol.errors import InvalidRequest

MAX_KEY = 256


async def put(call: Call[DhtPut]) -> DhtPutReply:
    return await call.services.dht.put(_key(call), call.body)


async def get(call: Call[None]) -> DhtValues:
    return await call.services.dht.get(_key(call))


def _key(call: Call[Any]) -> str:
    key = call.path("key")
    if len(key.encode("utf-8", "surrogateescape")) > MAX_KEY:
        raise InvalidRequest(f"A key has at most {MAX_KEY} bytes: shorten it.", code="invalid_value", param="key")
    return key
