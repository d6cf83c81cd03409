"""Questions, what came of them, and what people thought of it.

A question occupies many machines, so only so many run at once; a client that hangs up cancels its own (the server runs with
`handler_cancellation`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from node.council.request import DEFAULT_DEADLINE_S, MAX_DEADLINE_S
from node.http.errors import TooBusy
from node.http.handlers.label import by_project
from node.http.routes import Call
from protocol.api.council import ConsensusAnswer, ConsensusRequest, FeedbackReply, FeedbackRequest, QuestionSummary
from protocol.identity import parse_id

GRACE_S = 10.0
"""The council keeps the deadline; this much later the API stops waiting for the council."""


class Slots:
    """How many questions may still start."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises `TooBusy` (429) when none is free; nothing queues, so nobody waits without knowing."""
        if self._free == 0:
            raise TooBusy("This node already works on as many questions as it takes: try again in a second.", code="too_many_questions")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


SLOTS: web.AppKey[Slots] = web.AppKey("slots", Slots)


class RecentQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`?limit=20`: how many of the latest questions."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 20


async def consensus(call: Call[ConsensusRequest]) -> ConsensusAnswer:
    """Abstaining is an answer too (200)."""
    if call.body.project is not None:
        return await by_project(call, call.body, call.body.project)
    return await ask(call, call.body)


async def ask(call: Call[Any], request: ConsensusRequest) -> ConsensusAnswer:
    """Put a question to the council, within a slot and its deadline. The council refuses what nobody could answer."""
    deadline_s = min(request.deadline_s or DEFAULT_DEADLINE_S, MAX_DEADLINE_S)
    with call.request.app[SLOTS].one():
        async with asyncio.timeout(deadline_s + GRACE_S):
            return await call.services.council.ask(request)


async def recent(call: Call[RecentQuery]) -> list[QuestionSummary]:
    return await call.services.council.recent(call.body.limit)


async def receipt(call: Call[None]) -> dict[str, Any]:
    parse_id(call.path("id"))
    return await call.services.council.receipt_json(call.path("id"))


async def feedback(call: Call[FeedbackRequest]) -> FeedbackReply:
    parse_id(call.body.id)
    return await call.services.council.feedback(call.body)
