"""Who is there: announcements, members, neighbours."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.messages.fields import Address, Count, Hash, Id, Name, Signature

EMBEDDED_CHOICE = "embedded choice"
"""Among an agent's `kinds`: it answers choice questions about an embedding of any dimension."""


class AgentSummary(Struct, frozen=True, array_like=True, tag=10):
    """One agent as its node describes it."""

    agent_id: Id
    brain: Name
    family: Name
    generation: Count
    parent_id: Annotated[bytes, Meta(max_length=20)]
    """Empty for an agent of the first generation."""
    interactions: Count
    fitness: Annotated[float, Meta(ge=0, le=1)]
    born_at: float
    genome: Hash
    kinds: Annotated[list[Name], Meta(max_length=8)]
    embedding_dim: Count = 0
    founder: Annotated[bytes, Meta(max_length=20)] = b""
    """Id of the first of its line (`protocol.lineage`); empty where nobody recorded it."""
    epoch: Count = 0
    """How often it was given a new home where an old copy may remain: of two copies the one with the higher epoch goes on."""


class Announcement(Struct, frozen=True, array_like=True, tag=11):
    """What a node says about itself; flooded as the body of a `Gossip` with topic `member`."""

    name: Name
    address: Address
    keeper: bool
    room: Count
    """How many more agents it would host."""
    agents: Annotated[list[AgentSummary], Meta(max_length=256)]
    leaving: bool = False
    capacity: Annotated[int, Meta(ge=0, le=1024)] = 1
    """Cores that it lends to cells of anybody's runs."""
    stopping: bool = False
    """It ends now and keeps its place: not a failure, and back some day."""


class Gossip(Struct, frozen=True, array_like=True, tag=12):
    """A signed statement that goes to every node; duplicates are dropped by (origin, sequence)."""

    chain: Annotated[list[bytes], Meta(min_length=2, max_length=2)]
    """The origin's membership proof: (leaf, keeper) certificates."""
    sequence: Count
    """Strictly increasing per origin: its wall clock in milliseconds, at least one more than the last."""
    expires_at: float
    topic: Name
    body: Annotated[bytes, Meta(max_length=65_536)]
    signature: Signature


class MembersRequest(Struct, frozen=True, array_like=True, tag=13):
    """Ask a neighbour for the member announcements it holds."""


class Members(Struct, frozen=True, array_like=True, tag=14):
    """The newest `member` gossip of each node known."""

    members: Annotated[list[Gossip], Meta(max_length=256)]


class NeighbourRequest(Struct, frozen=True, array_like=True, tag=15):
    """Shall we be neighbours? `urgent` when the sender has none: then the receiver makes room."""

    urgent: bool


class NeighbourReply(Struct, frozen=True, array_like=True, tag=16):
    """Yes, or no because the receiver's view is full."""

    accepted: bool


class NeighbourDrop(Struct, frozen=True, array_like=True, tag=17):
    """The sender no longer counts the receiver among its neighbours."""


class Probe(Struct, frozen=True, array_like=True, tag=18):
    """Are you there? Answered with `Done`."""
