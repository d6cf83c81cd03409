"""What agents ask of the rest of the node: who is there, where records and blobs are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.births import Census
from protocol.homes import Standing
from protocol.identity import NodeId
from protocol.records import Record


@dataclass(frozen=True, slots=True)
class Departed:
    """A node taken for dead."""

    node_id: NodeId
    silent_s: float
    agents: Mapping[bytes, int]
    """Agents that it announced last, with their epochs."""


class Swarm(Protocol):
    """The swarm by its newest announcements (`node.directory.SwarmDirectory`)."""

    def census(self) -> Census: ...

    def living(self) -> list[NodeId]: ...

    def rooms(self) -> list[tuple[NodeId, int]]: ...

    def claims(self) -> Mapping[bytes, Sequence[Standing]]:
        """For every agent of another live node, all who say that it lives with them."""

    def departed(self) -> list[Departed]: ...


class Shelf(Protocol):
    """Signed records (`node.dht.service.Dht`)."""

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object: ...

    async def get(self, key: bytes) -> list[Record]: ...


class Vault(Protocol):
    """Content-addressed values, here and on peers (`node.blobs.Blobs`)."""

    async def put(self, data: bytes, *, pin: bool = False) -> bytes: ...

    async def spread(self, digest: bytes, peers: Sequence[bytes], copies: int) -> list[bytes]: ...

    async def fetch(self, digest: bytes, holders: Sequence[bytes]) -> bytes: ...
