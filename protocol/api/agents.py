"""Agents, their descent, and the seed's experiment replayed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class AgentInfo(Struct, frozen=True):
    agent_id: str
    node_id: str
    brain: str
    generation: int
    parent_id: str | None
    fitness: float
    interactions: int
    born_at: float
    genome: str
    family: str | None = None
    """Id of the first of its line."""
    family_share: float | None = None
    """The line's part of the agents of the swarm, 0 to 1."""
    epoch: int = 0
    """How often it got a new home because its node left or died."""


class DescentInfo(Struct, frozen=True):
    """One birth in an agent's lineage, checked by hash and signature."""

    agent_id: str
    parent_id: str | None
    generation: int
    genome: str
    """Hash of the genome it was born with."""
    node_id: str
    """The node that conceived it."""
    mate_id: str | None = None
    """The second parent, where there was one."""


class AgentFile(Struct, frozen=True, forbid_unknown_fields=True):
    """An agent as a file (`moot agents export`). Importing it makes a child of it: one agent never lives twice."""

    format: Literal["moot agent 1"]
    brain: str
    agent_id: str
    generation: int
    genome: str
    """The packed genome, base64."""
    lineage: str
    """The signed descent, MessagePack, base64; empty where nobody recorded it."""


class SeedBirth(Struct, frozen=True, tag="birth"):
    """The seed experiment: a division."""

    question: int
    child: int
    parent: int


class SeedStep(Struct, frozen=True, tag="step"):
    question: int
    population: int


class SeedEnd(Struct, frozen=True, tag="end"):
    population: int
    parents: list[int | None]
    memory_norms: list[float]
