"""Labelling projects: rows in, questions out, answers in, labels out."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from node.http.routes import Call
from node.http.services import LabelService
from protocol.errors import NotAvailable
from protocol.labelling import (
    AnswerRequest,
    ExamplesRequest,
    ProjectInfo,
    ProjectRequest,
    Questions,
    ReceiptInfo,
    RowLabel,
    RowLabels,
    RowsRequest,
    TextsRequest,
)


class NextQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`?count=1`: how many questions."""

    count: Annotated[int, Meta(ge=1, le=64)] = 1


class RowsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`?start=0`: from which row on."""

    start: Annotated[int, Meta(ge=0)] = 0


async def start(call: Call[ProjectRequest]) -> ProjectInfo:
    return await _desk(call).start(call.body)


async def listing(call: Call[None]) -> list[ProjectInfo]:
    return await _desk(call).projects()


async def one(call: Call[None]) -> ProjectInfo:
    return await _desk(call).info(call.path("id"))


async def rows(call: Call[RowsRequest]) -> ProjectInfo:
    return await _desk(call).add(call.path("id"), call.body)


async def examples(call: Call[ExamplesRequest]) -> ProjectInfo:
    return await _desk(call).add_examples(call.path("id"), call.body)


async def complete(call: Call[None]) -> ProjectInfo:
    return await _desk(call).complete(call.path("id"))


async def questions(call: Call[NextQuery]) -> Questions:
    return await _desk(call).questions(call.path("id"), call.body.count)


async def answer(call: Call[AnswerRequest]) -> ProjectInfo:
    return await _desk(call).answer(call.path("id"), call.body)


async def labels(call: Call[RowsQuery]) -> RowLabels:
    return await _desk(call).labels(call.path("id"), call.body.start)


async def judge(call: Call[TextsRequest]) -> list[RowLabel]:
    return await _desk(call).judge(call.path("id"), call.body.texts)


async def receipt(call: Call[None]) -> ReceiptInfo:
    return await _desk(call).receipt(call.path("id"))


def _desk(call: Call[Any]) -> LabelService:
    if call.services.labelling is None:
        raise NotAvailable("This node does not label.")
    return call.services.labelling
