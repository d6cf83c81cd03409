"""Semantic memory and hidden canaries over HTTP."""

from __future__ import annotations

from node.http.routes import Call
from protocol.api.council import CanariesReply, CanariesRequest
from protocol.api.memory import MemoryAdded, MemoryInfo, MemoryPurge, MemoryPurged, MemoryQuery, MemoryRating, MemoryRequest


async def add(call: Call[MemoryRequest]) -> MemoryAdded:
    return await call.services.memory.add(call.body)


async def search(call: Call[MemoryQuery]) -> list[MemoryInfo]:
    return await call.services.memory.search(call.body)


async def rate(call: Call[MemoryRating]) -> MemoryAdded:
    await call.services.memory.rate(call.body)
    return MemoryAdded(call.body.id)


async def purge(call: Call[MemoryPurge]) -> MemoryPurged:
    return await call.services.memory.purge(call.body)


async def canaries(call: Call[CanariesRequest]) -> CanariesReply:
    return await call.services.memory.canaries(call.body)
