"""The process and its voice: broadcast, stop, leave."""

from __future__ import annotations

from node.http.routes import Call
from protocol.api.nodes import BroadcastRequest, LeaveReply, StopReply


async def broadcast(call: Call[BroadcastRequest]) -> None:
    await call.services.control.broadcast(call.body)


async def stop(call: Call[None]) -> StopReply:
    """Answers first; the shutdown lets this reply out."""
    call.services.control.stop()
    return StopReply(stopping=True)


async def leave(call: Call[None]) -> LeaveReply:
    return await call.services.control.leave()
