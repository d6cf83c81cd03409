"""Rows of a labelling project."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.messages.fields import Count, Name


class ReadRows(Struct, frozen=True, array_like=True, tag=70):
    """Please embed these rows with this embedder."""

    embedder: Name
    texts: Annotated[list[Annotated[str, Meta(max_length=4_096)]], Meta(min_length=1, max_length=256)]


class RowVectors(Struct, frozen=True, array_like=True, tag=71):
    """The rows' embeddings: float16, little-endian, row after row."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]


class JudgeRows(Struct, frozen=True, array_like=True, tag=72):
    """Please label these new texts with a project that you hold."""

    project: Name
    texts: Annotated[list[Annotated[str, Meta(max_length=4_096)]], Meta(min_length=1, max_length=256)]


class RowJudgements(Struct, frozen=True, array_like=True, tag=73):
    """MessagePack of a list of `protocol.labelling.RowLabel`, one for each text."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]


class ProjectMark(Struct, frozen=True, array_like=True):
    """One project as a node holds it; `mark` tells one set of corrections from another, `whole` that the rows are there too."""

    project: Name
    count: Count
    mark: Annotated[bytes, Meta(min_length=8, max_length=8)]
    whole: bool
    learns: bool = False
    """Its learners are in that node's memory."""
    others: Annotated[bytes, Meta(max_length=8)] = b""
    """Tells one set of statements on heads and on distrust from another."""


class LabelSync(Struct, frozen=True, array_like=True, tag=74):
    """These projects I hold so: please send what I lack."""

    held: Annotated[list[ProjectMark], Meta(max_length=1_000)]
    wanted: Name = ""
    """This project only; empty: all."""


class LabelNews(Struct, frozen=True, array_like=True, tag=75):
    """MessagePack of `protocol.corrections.News`."""

    data: Annotated[bytes, Meta(max_length=1_048_576)]
