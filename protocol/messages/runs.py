"""The home of a run, and who would take it over."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.messages.fields import Count, Hash, Id, Name


class RunClaim(Struct, frozen=True, array_like=True, tag=92):
    """The sender is the home of this run; the receiver holds its newest checkpoint and may have to take over."""

    run_id: Id
    term: Count
    """How often the home has changed."""
    digest: Hash
    """The checkpoint, a blob."""
    iteration: Count
    """The newest that any cell had reported."""
    holders: Annotated[list[Id], Meta(max_length=16)]
    state: Name = "running"
    """When it is over there is nothing to take over."""


class RunHome(Struct, frozen=True, array_like=True, tag=93):
    """The answer: whom the receiver knows as the run's home, the sender or one that outranks it."""

    run_id: Id
    term: Count
    home: Id
