"""One question and its panel: calls, commitments, reveals, canaries, receipts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.ballots import Commitment, CommitSet, Question, Reveal
from protocol.messages.fields import Count, Hash, Id


class CouncilCall(Struct, frozen=True, array_like=True, tag=20):
    """Convener to a panel node: let these agents answer, and commit."""

    question: Question
    agents: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    deadline_ms: Annotated[int, Meta(ge=1, le=600_000)]


class Commitments(Struct, frozen=True, array_like=True, tag=21):
    """Panel node's answer to a call: one commitment per agent that answered, signed as one."""

    commitment: Commitment


class RevealCall(Struct, frozen=True, array_like=True, tag=22):
    """Convener to a panel node: here is the signed set of all commitments; now show yours."""

    commit_set: CommitSet


class Reveals(Struct, frozen=True, array_like=True, tag=23):
    """The votes behind a node's commitment, signed over the commit set."""

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
