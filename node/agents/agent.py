"""An agent: a genome with a history. Its brain answers for it; its host owns it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from node.agents.canaries import Measurement
from node.agents.fitness import Fitness
from node.agents.genome import content_hash, pack, renamed
from node.brains.base import Genome
from protocol.errors import Malformed, TooLarge
from protocol.identity import ID_BYTES, NodeId, NodeKey
from protocol.lineage import MAX_LINKS, NONCE_BYTES, Descent, conceive, founder_of

GENESIS = b"genesis"
"""Stands where a child's id has its parent, for agents without one."""
FORMER_NAMES = {"tiny": "tiny:mlp"}
"""Brains that rows of earlier versions call otherwise."""
MAX_REVIVED = 8


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
    lineage: tuple[Descent, ...] = ()
    """How it came to be, newest first, itself included; empty where nobody recorded it."""
    novelty: float = 0.5
    """How often it chose something else than the other agents here, lately: 0 (always the same) to 1."""
    lessons: int = 0
    """Lessons learnt since the node started."""
    epoch: int = 0
    """How often it was given a new home where an old copy may remain; of two copies the higher goes on (`node.agents.rebirth`)."""
    entrusted: tuple[NodeId, ...] = ()
    """Nodes that may let it live on in this one's place: they keep its checkpoint, or it was being moved to them."""
    confirmed: bool = True
    """Whether the node that sent it here knows that it arrived."""
    promised: NodeId | None = None
    """For a child that is not born yet: the node it is on offer to."""
    revived: tuple[float, ...] = ()
    """When it was lately revived after its node had died, wall clock."""
    _packed: tuple[bytes, bytes] | None = field(default=None, init=False)
    """Bytes and hash of the genome, made when they are asked for: learning changes a genome far more often than anybody reads it."""

    @property
    def brain(self) -> str:
        return self.genome.brain

    @property
    def family(self) -> bytes:
        """The founder's id: agents of one family descend from one agent."""
        return founder_of(self.lineage) or self.agent_id

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
    lineage: Annotated[list[Descent], Meta(max_length=MAX_LINKS)] = []
    novelty: float = 0.5
    epoch: int = 0
    entrusted: Annotated[list[bytes], Meta(max_length=16)] = []
    confirmed: bool = True
    promised: bytes = b""
    unborn: bool = False
    """A child that has no home yet: its node goes on looking for one when it is started again."""
    revived: Annotated[list[float], Meta(max_length=MAX_REVIVED)] = []


_row = msgspec.msgpack.Decoder(AgentRow)


def to_row(agent: Agent, *, unborn: bool = False) -> bytes:
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
            list(agent.lineage),
            agent.novelty,
            agent.epoch,
            list(agent.entrusted),
            agent.confirmed,
            agent.promised or b"",
            unborn,
            list(agent.revived[-MAX_REVIVED:]),
        )
    )


def read_row(data: bytes) -> AgentRow:
    """The row, under its brain's present name. Raises `Malformed` when it is damaged."""
    try:
        row = _row.decode(data)
        if (name := FORMER_NAMES.get(row.brain)) is not None:
            row = msgspec.structs.replace(row, brain=name, genome=renamed(row.genome, name))
    except (msgspec.MsgspecError, UnicodeDecodeError, TooLarge) as error:
        raise Malformed(f"an agent's row does not decode: {error}") from error
    return row


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
        lineage=tuple(row.lineage),
        novelty=row.novelty,
        epoch=row.epoch,
        entrusted=tuple(NodeId(node) for node in row.entrusted),
        confirmed=row.confirmed,
        promised=NodeId(row.promised) if row.promised else None,
        revived=tuple(row.revived),
    )


def born(
    genome: Genome, now: float, me: NodeId, key: NodeKey | None, entropy: bytes, parent: Agent | None = None, mate: Agent | None = None
) -> Agent:
    """A founder, or a child of `parent` (and `mate`), with an id that no two births share. `entropy`: at least 16 random bytes.

    With a key its descent is recorded and signed, and its id is the hash of it.
    """
    parent_id, generation = (parent.agent_id, parent.generation + 1) if parent is not None else (b"", 0)
    agent = Agent(b"", genome, now, generation, parent_id)
    if key is None:
        agent.agent_id = hashlib.sha256((parent_id or GENESIS) + agent.genome_hash + me + entropy).digest()[:ID_BYTES]
    else:
        chain = parent.lineage if parent is not None else ()
        other = mate.agent_id if mate is not None else b""
        agent.agent_id, links = conceive(key, parent_id, chain, generation, agent.genome_hash, entropy[:NONCE_BYTES], other)
        agent.lineage = tuple(links)
    return agent
