"""Content-addressed values that are too large for a record: a blob's name is the SHA-256 of its bytes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.messages.fields import Hash

MAX_BLOB = 8 * 1024 * 1024
"""Bytes of one blob."""
MAX_CHUNK = 256 * 1024
"""Bytes of a blob in one message: other traffic of the link waits no longer than that."""


class BlobOffer(Struct, frozen=True, array_like=True, tag=85):
    """I hold this blob: please fetch it from me and keep a copy. Answered with `Done` once it is kept, or refused."""

    digest: Hash
    size: Annotated[int, Meta(ge=0, le=MAX_BLOB)]


class BlobRequest(Struct, frozen=True, array_like=True, tag=86):
    """Part of a blob, from `offset` on."""

    digest: Hash
    offset: Annotated[int, Meta(ge=0, le=MAX_BLOB)]


class BlobChunk(Struct, frozen=True, array_like=True, tag=87):
    """Bytes from the offset asked for; `total` is the whole length."""

    total: Annotated[int, Meta(ge=0, le=MAX_BLOB)]
    data: Annotated[bytes, Meta(max_length=MAX_CHUNK)]
