"""A node, its peers, what starts and stops it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

State = Literal["alive", "suspect", "dead", "stopped", "left"]
"""`dead`: it went without a word; `stopped`: it said that it would be back; `left`: that it would not."""


class BrainInfo(Struct, frozen=True):
    name: str
    family: str
    fingerprint: str
    kinds: list[str]
    state: Literal["loading", "ready", "failed"]
    detail: str = ""
    progress: float = 0.0
    """How far loading is, 0 to 1."""


class NodeInfo(Struct, frozen=True):
    node_id: str
    name: str
    swarm_id: str
    version: str
    address: str
    roles: list[str]
    brains: list[BrainInfo]
    agents: int
    uptime_s: float
    ready: bool
    notices: list[str]
    """What a person should know: no weights, open swarm, renewed ports."""
    measured: int = 0
    """Agents of this node that have answered the canary questions."""
    capacity: int = 0
    """Most agents that this node hosts."""
    capacity_reason: str = ""
    embedder: str = ""
    """By which the swarm's memory is found, as its founder settled: `words` or `minilm`."""
    embedder_problem: str = ""
    """Why this node can neither search that memory nor add to it, with the remedy; empty when it can."""
    neighbours: int = 0
    """Nodes that this one is linked with for good; 0 while it is alone."""
    members: int = 1
    """Live nodes of the swarm, as far as this one knows, itself included."""


class PeerInfo(Struct, frozen=True):
    node_id: str
    name: str
    address: str
    state: State
    rtt_ms: float | None
    agents: int


class Peers(Struct, frozen=True):
    neighbours: list[PeerInfo]
    members: list[PeerInfo]
    node_id: str = ""
    """Whose view this is; it is one of `members`."""


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    ttl_s: Annotated[int, Meta(ge=1, le=31_536_000)] = 3_600
    uses: Annotated[int, Meta(ge=1, le=10_000)] = 1


class TokenReply(Struct, frozen=True):
    id: str
    token: str
    """Shown once; only the hash of its secret is kept."""
    expires_at: float
    uses: int
    join: str
    """The command to type on the other machine."""


class TokenInfo(Struct, frozen=True):
    id: str
    expires_at: float
    uses_left: int


class BroadcastRequest(Struct, frozen=True, forbid_unknown_fields=True):
    topic: Annotated[str, Meta(min_length=1, max_length=64)]
    body: Annotated[str, Meta(max_length=16_384)]


class Event(Struct, frozen=True):
    """What `/v1/events` streams."""

    event: Literal["member", "birth", "death", "message", "consensus", "run", "labelling"]
    at: float
    data: dict[str, str | float | int | bool | None]


class StopReply(Struct, frozen=True):
    stopping: bool


class LeaveReply(Struct, frozen=True):
    leaving: bool
    moved: int = 0
    """Agents that live on another node now."""
    stayed: int = 0
    """Agents that found no room; they are still in the node's database."""


class ApiFile(Struct, frozen=True):
    """`api.json` in the data directory (0600): how commands on this machine find their daemon."""

    api: str
    admin_token: str
    pid: int
    node_id: str


class Ready(Struct, frozen=True):
    """The one line that `moot up --json` prints."""

    event: Literal["ready"]
    node_id: str
    address: str
    api: str
    neighbours: int = 0
    """Members that are its neighbours by now."""
    known: int = 0
    """Addresses of members that it dials while it has no neighbour."""
