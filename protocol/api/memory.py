"""The shared memory: memories found by meaning, and raw records of the DHT."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.api.council import MAX_QUESTION


class MemoryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `text` and `embedding`; `value` is the answer to keep."""

    value: str | float | bool | list[float]
    text: Annotated[str, Meta(max_length=MAX_QUESTION)] | None = None
    embedding: Annotated[list[float], Meta(min_length=1, max_length=4096)] | None = None
    fitness: Annotated[float, Meta(ge=0, le=1)] = 0.5
    ttl_s: Annotated[int, Meta(ge=1, le=2_592_000)] = 14 * 86_400


class MemoryAdded(Struct, frozen=True):
    id: str


class MemoryQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`?query=...&top_k=3`."""

    query: Annotated[str, Meta(min_length=1, max_length=4096)]
    top_k: Annotated[int, Meta(ge=1, le=50)] = 3


class MemoryInfo(Struct, frozen=True):
    """A memory as people see it; `text` and `answer` are cut to what a record holds."""

    id: str
    node_id: str
    """Its origin."""
    text: str
    answer: str
    """JSON."""
    likeness: float
    fitness: float
    quarantined: bool
    """Nobody but its author has rated it well: not quoted to agents."""
    at: float
    receipt: str | None


class MemoryRating(Struct, frozen=True, forbid_unknown_fields=True):
    """`text` finds the memory again: its own text, or one like it."""

    id: Annotated[str, Meta(min_length=32, max_length=32)]
    text: Annotated[str, Meta(min_length=1, max_length=4096)]
    score: Annotated[float, Meta(ge=0, le=1)]


class MemoryPurge(Struct, frozen=True, forbid_unknown_fields=True):
    node: str
    """Node id of the origin."""


class MemoryPurged(Struct, frozen=True):
    deleted: int
    """Memories buried everywhere: this node's own. Another node's are hidden here from now on."""
    hidden: bool


class DhtPut(Struct, frozen=True, forbid_unknown_fields=True):
    value: str
    subkey: str = ""
    ttl_s: Annotated[int, Meta(ge=1, le=2_592_000)] = 86_400


class DhtPutReply(Struct, frozen=True):
    key: str
    seq: int
    replicas: int
    """Nodes that confirmed they hold it, this one included."""
    expires_at: int


class DhtValue(Struct, frozen=True):
    author: str
    subkey: str
    seq: int
    value: str
    expires_at: int


class DhtValues(Struct, frozen=True):
    key: str
    values: list[DhtValue]
