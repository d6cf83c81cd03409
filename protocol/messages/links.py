"""What two nodes say when a link comes up and ends."""

from __future__ import annotations

from msgspec import Struct

from protocol.messages.fields import Address, Count, Name, Reason


class Hello(Struct, frozen=True, array_like=True, tag=1):
    """First message in both directions; a link is up only once it has come."""

    version: Count
    name: Name
    address: Address
    """Where this node can be dialled, HOST:PORT; empty when it cannot."""


class Goodbye(Struct, frozen=True, array_like=True, tag=2):
    """The sender leaves on purpose: not a failure."""

    reason: Reason


class Refusal(Struct, frozen=True, array_like=True, tag=3):
    """Answer to a request that is refused."""

    code: Name
    message: Reason
