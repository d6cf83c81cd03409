"""Labelling projects: rows in, questions out, answers in, labels out."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from node.http.routes import Call
from node.http.services import LabelService
from protocol.api.council import Basis, ConsensusAnswer, ConsensusRequest, VoteInfo
from protocol.errors import InvalidRequest, NotAvailable
from protocol.labelling import (
    MAX_TEXT,
    AnswerRequest,
    DistrustRequest,
    ExamplesRequest,
    GuestsRequest,
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


async def guests(call: Call[GuestsRequest]) -> ProjectInfo:
    return await _desk(call).ask_guests(call.path("id"), call.body)


async def distrust(call: Call[DistrustRequest]) -> ProjectInfo:
    return await _desk(call).distrust(call.path("id"), call.body)


PANELS_ONLY = ("choices", "embedding", "kind", "agents", "quorum", "system", "brain", "temperature")
"""Fields of a question that mean nothing to a labelling project."""
MEASURED = "temperature on the project's corrections held back"
UNMEASURED = "not measured yet: too few answers to hold any back, so a temperature usual for so few"


async def by_project(call: Call[Any], request: ConsensusRequest, project: str) -> ConsensusAnswer:
    """A question put to a labelling project: its learners are the panel. (No council receipt: the project has its own.)"""
    text = request.question
    if not text or len(text) > MAX_TEXT:
        raise InvalidRequest(f"With 'project', send a 'question' of at most {MAX_TEXT} characters.", code="invalid_value", param="question")
    for name in PANELS_ONLY:
        if getattr(request, name) is not None:
            raise InvalidRequest(
                f"'{name}' is for a panel of agents, and 'project' asks none: leave one out.", code="invalid_value", param=name
            )
    runtime = call.services.runtime
    began = runtime.monotonic()
    (row,) = await _desk(call).judge(project, [text])
    elapsed = (runtime.monotonic() - began) * 1_000
    votes = [
        VoteInfo(name, "", "label", choice, None, 1.0, 0.0)
        for name, _, choice in (vote.partition("=") for vote in row.votes.split("; "))
        if name
    ]
    return ConsensusAnswer(
        id=project,
        status="abstained" if row.abstained else "answered",
        reason="LOW_CONFIDENCE" if row.abstained else None,
        detail=_detail(row),
        kind="choice",
        question=text,
        answer=row.label or None,
        confidence=row.confidence,
        basis=Basis("temperature", 0, None, 0, 0, MEASURED if row.calibrated else UNMEASURED),
        agreement=row.agreement,
        degraded=False,
        votes=votes,
        dissent=[vote for vote in votes if row.label and vote.answer != row.label],
        missing=[],
        memories=[],
        panel=len(votes),
        quorum=1,
        elapsed_ms=round(elapsed, 3),
        brain_ms=round(elapsed, 3),
        project=project,
    )


def _detail(row: RowLabel) -> str:
    """What a person should know beside the answer."""
    nearest = f"; the nearest is {row.best}" if row.best else ""
    why = {"unsure": "The project is unsure", "none of these": "This looks like none of the project's labels"}
    unsure = f"{why.get(row.abstained, row.abstained)}{nearest}." if row.abstained else ""
    late = f"{', '.join(row.late)} did not vote in time." if row.late else ""
    return " ".join(filter(None, (unsure, late)))


def _desk(call: Call[Any]) -> LabelService:
    if call.services.labelling is None:
        raise NotAvailable("This node does not label.")
    return call.services.labelling
