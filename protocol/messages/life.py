"""Division onto another node, moving to one, and what an answer was worth."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.lineage import Descent
from protocol.messages.fields import Count, Hash, Id, Name, Reason


class BirthOffer(Struct, frozen=True, array_like=True, tag=30):
    """A node offers a child to a peer that announced room."""

    child_id: Id
    parent_id: Id
    brain: Name
    generation: Count
    genome: Hash
    size: Annotated[int, Meta(ge=1, le=16_777_216)]
    lineage: Annotated[list[Descent], Meta(max_length=32)] = []
    """Newest first, the child itself included."""
    epoch: Count = 0
    """As in `AgentSummary`."""
    moved: bool = False
    """No child but a grown agent whose node leaves: `genome` is the hash of its whole state, which holds the same descent."""


class BirthReply(Struct, frozen=True, array_like=True, tag=31):
    """Accepted (a place is reserved until `reserved_until`) or refused with the reason."""

    accepted: bool
    reason: Reason = ""
    reserved_until: float = 0.0


class GenomeRequest(Struct, frozen=True, array_like=True, tag=32):
    """Fetch part of a genome by content hash."""

    genome: Hash
    offset: Count


class GenomeChunk(Struct, frozen=True, array_like=True, tag=33):
    """Bytes from `offset` on; `total` is the whole length."""

    total: Count
    data: Annotated[bytes, Meta(max_length=262_144)]


class Birth(Struct, frozen=True, array_like=True, tag=34):
    """Host to the node that offered it: the agent lives here now. `Done`, or refused as `elsewhere` when it was given up meanwhile."""

    child_id: Id


class AnswerRated(Struct, frozen=True, array_like=True, tag=35):
    """To every node that sat on the panel: how right the council's answer was said to be. Its agents can learn from that alone."""

    question_id: Id
    answer: Annotated[bytes, Meta(max_length=65_536)]
    """JSON of the answer that was rated."""
    score: Annotated[float, Meta(ge=0, le=1)]
