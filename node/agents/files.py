"""Agents as files, and where they come from, for people: export, import, lineage.

A file is as hostile as a peer: its genome and its descent are checked as an offer's are. What is imported is a child of the agent in
the file (same weights, new id, one generation on), so that an agent never lives twice.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

import msgspec

from node.agents.agent import Agent, born
from node.agents.genome import unpack
from node.agents.host import AgentHost
from node.agents.population import Population
from node.runtime import Runtime
from protocol.api.agents import AgentFile, DescentInfo
from protocol.errors import InvalidRequest, NotAvailable, NotFound, PeerError
from protocol.identity import node_id_of, parse_id, show_id
from protocol.lineage import Descent, agent_id_of, check_lineage

_chain = msgspec.msgpack.Decoder(list[Descent])


def lineage_of(population: Population, agent_id: str) -> list[DescentInfo]:
    """An agent's births, newest first. Raises `NotFound`."""
    return [
        DescentInfo(
            show_id(agent_id_of(link)),
            show_id(link.parent) if link.parent else None,
            link.generation,
            link.genome.hex(),
            show_id(node_id_of(link.key)),
            show_id(link.mate) if link.mate else None,
        )
        for link in _here(population, agent_id).lineage
    ]


def export_agent(population: Population, agent_id: str) -> AgentFile:
    """Raises `NotFound`."""
    agent = _here(population, agent_id)
    lineage = b64encode(msgspec.msgpack.encode(list(agent.lineage))).decode() if agent.lineage else ""
    return AgentFile("moot agent 1", agent.brain, show_id(agent.agent_id), agent.generation, b64encode(agent.packed).decode(), lineage)


async def import_agent(host: AgentHost, runtime: Runtime, file: AgentFile) -> Agent:
    """A child of the agent in the file lives here from now on. Raises `InvalidRequest` or `NotAvailable`."""
    worker = host.worker(file.brain)
    if worker is None:
        raise NotAvailable(f"The agent needs the brain {file.brain}, which is not ready here: start with `--brain {file.brain}`.")
    try:
        chain = _chain.decode(b64decode(file.lineage, validate=True)) if file.lineage else []
        genome = unpack(b64decode(file.genome, validate=True), file.brain, worker.brain.schema())
        parent = Agent(parse_id(file.agent_id), genome, runtime.now(), file.generation, lineage=tuple(chain))
        if chain:
            check_lineage(chain, parent.agent_id, chain[0].parent, file.generation, chain[0].genome)
    except (PeerError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"This is no usable agent file: {error}.", param="genome") from error
    child = born(genome, runtime.now(), host.me, host.key, runtime.token_bytes(16), parent)
    if not host.population.reserve(child.agent_id):
        raise NotAvailable("This node is full: raise its capacity, or import on another.")
    try:
        await host.adopt(child)
    finally:
        host.population.release(child.agent_id)
    return child


def _here(population: Population, agent_id: str) -> Agent:
    agent = population.get(parse_id(agent_id))
    if agent is None:
        raise NotFound(f"No agent '{agent_id}' lives on this node: `moot agents ls --swarm` says where it does.", param="id")
    return agent
