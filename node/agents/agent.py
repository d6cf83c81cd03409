"""An agent: a genome with a history. Its brain answers for it; its host owns it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from node.agents.canaries import Measurement
from node.agents.fitness import Fitness
from node.agents.genome import content_hash, pack
from node.brains.base import Genome
from protocol.errors import Malformed
from protocol.identity import ID_BYTES

GENESIS = b"genesis"
"""Stands where a child's id has its parent, for agents without one."""


@dataclass(slots=True)
class Agent:
    """One agent of this node. `genome` changes through `evolve` only, so that bytes and hash stay with it."""

    agent_id: bytes
    genome: Genome
    born_at: float
    generation: int = 0
    parent_id: bytes = b""
    interactions: int = 0
    since_division: int = 0
    fitness: Fitness = field(default_factory=Fitness)
    measured: Measurement | None = None
    """How it answered the canaries; None until it is measured, and again after it learnt."""
    lessons: int = 0
    """Lessons learnt since the node started."""
    _packed: tuple[bytes, bytes] | None = field(default=None, init=False)
    """Bytes and hash of the genome, made when they are asked for: learning changes a genome far more often than anybody reads it."""

    @property
    def brain(self) -> str:
        return self.genome.brain

    @property
    def packed(self) -> bytes:
        return self._bytes()[0]

    @property
    def genome_hash(self) -> bytes:
        return self._bytes()[1]

    def evolve(self, genome: Genome) -> None:
        """Live on with another genome."""
        self.genome = genome
        self._packed = None

    def learnt(self, genome: Genome) -> None:
        """Live on with a genome that answers differently: what was measured no longer holds."""
        self.evolve(genome)
        self.lessons += 1
        self.measured = None

    def _bytes(self) -> tuple[bytes, bytes]:
        if self._packed is None:
            data = pack(self.genome)
            self._packed = data, content_hash(data)
        return self._packed


class AgentRow(Struct, frozen=True, array_like=True):
    """An agent as the book keeps it. Append fields with a default; never reorder them."""

    agent_id: Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    brain: str
    genome: bytes
    born_at: float
    generation: int
    parent_id: bytes
    interactions: int
    since_division: int
    fitness: Fitness


_row = msgspec.msgpack.Decoder(AgentRow)


def to_row(agent: Agent) -> bytes:
    """The agent as bytes for the book."""
    return msgspec.msgpack.encode(
        AgentRow(
            agent.agent_id,
            agent.brain,
            agent.packed,
            agent.born_at,
            agent.generation,
            agent.parent_id,
            agent.interactions,
            agent.since_division,
            agent.fitness,
        )
    )


def read_row(data: bytes) -> AgentRow:
    """Raises `Malformed` when the row is damaged."""
    try:
        return _row.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"an agent's row does not decode: {error}") from error


def from_row(row: AgentRow, genome: Genome) -> Agent:
    """The agent as it was; `genome` is the row's, unpacked and checked against its brain."""
    return Agent(
        row.agent_id,
        genome,
        row.born_at,
        row.generation,
        row.parent_id,
        row.interactions,
        row.since_division,
        row.fitness,
    )


def new_id(parent_id: bytes, genome_hash: bytes, node_id: bytes, nonce: bytes) -> bytes:
    """20 bytes that no two births share: parent (or genesis), genome, the node where it was conceived, a nonce."""
    return hashlib.sha256((parent_id or GENESIS) + genome_hash + node_id + nonce).digest()[:ID_BYTES]
