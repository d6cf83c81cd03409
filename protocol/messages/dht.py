"""The distributed hash table's datagrams."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.messages.fields import Id, Name
from protocol.records import Record


class Contact(Struct, frozen=True, array_like=True, tag=60):
    """A node as the DHT's routing table knows it."""

    node_id: Id
    host: Annotated[str, Meta(max_length=64)]
    port: Annotated[int, Meta(ge=1, le=65_535)]


class Ping(Struct, frozen=True, array_like=True, tag=61):
    """Are you there?"""


class Pong(Struct, frozen=True, array_like=True, tag=62):
    """Yes."""


class FindNode(Struct, frozen=True, array_like=True, tag=63):
    """Which contacts nearest to `target` do you know?"""

    target: Id


class Contacts(Struct, frozen=True, array_like=True, tag=64):
    """The nearest contacts, nearest first."""

    contacts: Annotated[list[Contact], Meta(max_length=20)]


class FindValue(Struct, frozen=True, array_like=True, tag=65):
    """Which records of `key` do you hold? `after` pages through writers (authors and subkeys in order)."""

    key: Id
    after: Annotated[bytes, Meta(max_length=256)] = b""


class Values(Struct, frozen=True, array_like=True, tag=66):
    """Records held, as many as fit, and the nearest contacts when there is room; `more` when another page follows."""

    records: Annotated[list[Record], Meta(max_length=16)]
    contacts: Annotated[list[Contact], Meta(max_length=20)]
    more: bool = False


class Store(Struct, frozen=True, array_like=True, tag=67):
    """Keep this record."""

    record: Record


class Stored(Struct, frozen=True, array_like=True, tag=68):
    """Kept, or why not."""

    kept: bool
    reason: Name = ""
