"""One question and its panel: calls, commitments, reveals, canaries, receipts.

Tags 21 to 23 were commitments, calls to reveal and reveals in which each commitment and the set had a signature of its own.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.ballots import Commitment, Question, Reveal
from protocol.messages.fields import Count, Hash, Id


class CouncilCall(Struct, frozen=True, array_like=True, tag=20):
    """Convener to a panel node: let these agents answer, and commit."""

    question: Question
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    deadline_ms: Annotated[int, Meta(ge=1, le=600_000)]


class Commitments(Struct, frozen=True, array_like=True, tag=52):
    """Panel node's answer to a call: one commitment for all of its agents."""

    commitment: Commitment


class RevealCall(Struct, frozen=True, array_like=True, tag=53):
    """Convener to a panel node: these are the hashes of all commitments; now show your votes."""

    question: Id
    commitments: Annotated[list[Hash], Meta(min_length=1, max_length=64)]


class Reveals(Struct, frozen=True, array_like=True, tag=54):
    """The votes behind a node's commitment, signed over that set."""

    reveal: Reveal


class CanaryCall(Struct, frozen=True, array_like=True, tag=24):
    """Ask a node how these agents answered the shipped canary questions."""

    canaries: Hash
    """Digest of the canary set; a node with another set refuses."""
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]


class CanaryVotes(Struct, frozen=True, array_like=True, tag=25):
    """Per agent, per canary: log-probabilities over its choices. An agent that is not measured yet is left out."""

    votes: Annotated[dict[bytes, list[list[float]]], Meta(max_length=64)]


class FeedbackNotice(Struct, frozen=True, array_like=True, tag=26):
    """A person's rating, passed to the nodes whose agents voted."""

    question_id: Id
    score: Annotated[float, Meta(ge=0, le=1)]
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    correct: Annotated[bytes, Meta(max_length=16_384)] = b""
    """JSON of the right answer, when the rater gave one."""


class Done(Struct, frozen=True, array_like=True, tag=27):
    """Received and done."""

    count: Count = 0
    """Of how many things, where the request was about several (agents rated)."""


class ReceiptRequest(Struct, frozen=True, array_like=True, tag=50):
    """Ask the node that convened a question for its receipt."""

    receipt: Id


class ReceiptReply(Struct, frozen=True, array_like=True, tag=51):
    """The canonical bytes; empty when this node does not hold it, or it is too large for one message."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]
