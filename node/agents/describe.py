"""Agents and brains as others see them: in announcements and in the HTTP API."""

from __future__ import annotations

from node.agents.agent import Agent
from node.agents.answers import kinds_of
from node.agents.worker import BrainWorker
from node.brains.base import Brain
from protocol.api.agents import AgentInfo
from protocol.api.nodes import BrainInfo
from protocol.identity import NodeId, show_id
from protocol.messages import EMBEDDED_CHOICE, AgentSummary


def summary(agent: Agent, brain: Brain) -> AgentSummary:
    """An agent as its node announces it."""
    return AgentSummary(
        agent_id=agent.agent_id,
        brain=brain.name[:64],
        family=brain.family[:64],
        generation=agent.generation,
        parent_id=agent.parent_id,
        interactions=agent.interactions,
        fitness=agent.fitness.mean,
        born_at=agent.born_at,
        genome=agent.genome_hash,
        kinds=kinds_of(brain) + ([EMBEDDED_CHOICE] if brain.capabilities.any_embedding else []),
        embedding_dim=brain.capabilities.embedding_dim or 0,
        founder=agent.family if agent.lineage else b"",
        epoch=agent.epoch,
    )


def agent_info(agent: Agent, node_id: NodeId) -> AgentInfo:
    """An agent as the HTTP API shows it."""
    return AgentInfo(
        agent_id=show_id(agent.agent_id),
        node_id=show_id(node_id),
        brain=agent.brain,
        generation=agent.generation,
        parent_id=show_id(agent.parent_id) if agent.parent_id else None,
        fitness=agent.fitness.mean,
        interactions=agent.interactions,
        born_at=agent.born_at,
        genome=agent.genome_hash.hex(),
        family=show_id(agent.family),
        epoch=agent.epoch,
    )


def brain_info(worker: BrainWorker) -> BrainInfo:
    """A brain as the HTTP API shows it, also while it loads or after it failed."""
    brain = worker.brain
    return BrainInfo(
        name=brain.name,
        family=brain.family,
        fingerprint=brain.fingerprint if worker.state == "ready" else "",
        kinds=kinds_of(brain),
        state=worker.state,
        detail=worker.detail,
        progress=worker.progress,
    )
