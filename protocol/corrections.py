"""What nodes tell each other of a labelling project: signed statements, and which of them win.

A `Charter` says what a project is and where its pool of rows lies (hashes of blobs); a `Correction` what a person said of one row.
Of two corrections of a row the later wins: higher counter (Lamport 1978: one more than the highest its writer knew of that project),
then later clock, then greater key. So the corrections of a project are a map of last-writer-wins registers (Shapiro et al. 2011,
section 3.2): nodes that heard the same ones, in whatever order, hold the same answers. A `Distrust` takes those of one node out of a
project: when whoever started it says so, on every node; when another node does, on that node.

Pure: keys and times are arguments.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.heads import HeadStatement
from protocol.identity import NodeKey, verify
from protocol.labelling import MAX_LABEL, MAX_LABELS, Label, Text
from protocol.messages.fields import Count, Hash, Id, Name, PublicKey

MAX_PARTS = 64
"""Blobs of one pool."""
MAX_AHEAD = 100_000
"""A counter may be so far above the milliseconds of the clock, which people who answer never overtake: one that is higher is an attempt to
have the last word for ever. It is not compared with the counters that a node knows, else whoever comes late would refuse what all others
know."""
POOL = 10_000
"""Rows that a project's learners are made of, an even sample of the pile: only these are asked about."""
MAX_EXAMPLES = 100_000
"""Of one project, as others take them."""
CONTEXT = b"labelling"
NOTICE_NAME, NOTICE_PARTS = 40, 4

Row = Annotated[int, Meta(ge=-(2**62), le=2**62)]


class Charter(Struct, frozen=True, array_like=True, tag="charter"):
    """A project whose pile has been read; `parts` are the blobs of its pool."""

    project: Name
    name: Annotated[str, Meta(max_length=200)]
    labels: Annotated[list[Label], Meta(max_length=MAX_LABELS)]
    budget: Annotated[int, Meta(ge=0, le=100_000)]
    embedder: Name
    rows: Count
    """Of the whole pile; the pool is an even sample of it."""
    parts: Annotated[list[Hash], Meta(min_length=1, max_length=MAX_PARTS)]
    author: PublicKey
    signature: bytes = b""


class Correction(Struct, frozen=True, array_like=True, tag="correction"):
    """What a person said of one row: a label, null for a skip; `undo` takes back what was said before."""

    project: Name
    row: Row
    label: Label | None
    undo: bool
    counter: Count
    at: float
    author: PublicKey
    signature: bytes = b""


class Distrust(Struct, frozen=True, array_like=True, tag="distrust"):
    """What this node said of rows of the project counts no more, or again from now on (`trusted`)."""

    project: Name
    node: Id
    trusted: bool
    counter: Count
    at: float
    author: PublicKey
    signature: bytes = b""


class Notice(Struct, frozen=True, array_like=True):
    """A project in the DHT, under its id; each node that holds it writes one, and the DHT's signature says which. At most 400 bytes."""

    name: Annotated[str, Meta(max_length=NOTICE_NAME)]
    labels: Count
    rows: Count
    corrections: Count
    author: PublicKey
    """Who started it."""
    parts: Annotated[list[Hash], Meta(max_length=NOTICE_PARTS)]
    """The first blobs of its pool."""
    learns: bool
    """Whether that node has the learners."""


class Part(Struct, frozen=True, array_like=True):
    """Rows `start`, `start + step`, ... of a pool, as a blob holds them; `labels` is empty but for examples."""

    start: Row
    step: Annotated[int, Meta(ge=1, le=2**32)]
    texts: list[Text]
    labels: list[Annotated[str, Meta(max_length=MAX_LABEL)]]
    vectors: bytes
    """float16, little-endian, row after row."""


class News(Struct, frozen=True, array_like=True):
    """Statements on their way."""

    charters: list[Charter]
    corrections: list[Correction]
    heads: list[HeadStatement] = []
    distrusts: list[Distrust] = []


Statement = TypeVar("Statement", Charter, Correction, Distrust)

_encoder = msgspec.msgpack.Encoder()
_news = msgspec.msgpack.Decoder(News)
_part = msgspec.msgpack.Decoder(Part)
_notice = msgspec.msgpack.Decoder(Notice)


def sign_statement(key: NodeKey, statement: Statement) -> Statement:
    """The same statement with the signature of its author, who holds `key`."""
    return msgspec.structs.replace(statement, signature=key.sign(CONTEXT, _signed(statement)))


def check_statement(statement: Statement) -> None:
    """Raises `BadSignature` unless its author said it, `Malformed` for a time that is none."""
    if not isinstance(statement, Charter) and not math.isfinite(statement.at):
        raise Malformed("a statement of no time")
    verify(statement.author, statement.signature, CONTEXT, _signed(statement))


def rank(correction: Correction | Distrust) -> tuple[int, float, bytes]:
    """The higher one stands."""
    return correction.counter, correction.at, correction.author


def check_counter(counter: int, now: float) -> None:
    """`now`: seconds since 1970. Raises `Malformed` for a counter that nobody's answers can have led to."""
    if counter > MAX_AHEAD + max(0, int(now * 1_000)):
        raise Malformed("a counter far ahead of the clock")


def may_be_corrected(charter: Charter, row: int) -> bool:
    """Whether learners may know this row: one of the pool, or an example. So corrections of a project are bounded in number."""
    step = max(1, -(-charter.rows // POOL))
    return -MAX_EXAMPLES <= row < charter.rows and (row < 0 or row % step == 0)


def mark(ranks: Iterable[tuple[int | bytes, int, bytes]]) -> bytes:
    """Eight bytes that tell one set of standing statements, given as (row or id, counter, author), from another."""
    return hashlib.sha256(_encoder.encode(sorted(ranks))).digest()[:8]


def pack_news(news: News) -> bytes:
    return _encoder.encode(news)


def read_news(data: bytes) -> News:
    """Raises `Malformed`; signatures are the caller's to check."""
    try:
        return _news.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"statements that cannot be read: {error}") from error


def pack_part(part: Part) -> bytes:
    return _encoder.encode(part)


def read_part(data: bytes) -> Part:
    """Raises `Malformed`."""
    try:
        part = _part.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"rows that cannot be read: {error}") from error
    if not part.texts or (part.labels and len(part.labels) != len(part.texts)):
        raise Malformed("not one label for each row")
    return part


def pack_notice(notice: Notice) -> bytes:
    return _encoder.encode(notice)


def read_notice(data: bytes) -> Notice:
    """Raises `Malformed`."""
    try:
        return _notice.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a notice that cannot be read: {error}") from error


def _signed(statement: Charter | Correction | Distrust) -> bytes:
    return _encoder.encode(msgspec.structs.replace(statement, signature=b""))
