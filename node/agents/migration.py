"""A node leaves: each of its agents moves to a peer with room before the goodbye.

A move is a handover of the whole state, one epoch on. The peer is written down as entrusted with the agent before it hears of it: should
the word of its arrival be lost, this node knows on its return to whom its copy gives way. An agent that nobody takes stays in the book.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from node.agents.agent import Agent
from node.agents.genome import content_hash
from node.agents.handover import Handover, Outcome
from node.agents.host import AgentHost
from node.agents.seams import Swarm
from node.agents.state import state_of
from node.runtime import Runtime
from protocol.errors import MootError
from protocol.identity import NodeId, show_id
from protocol.messages import BirthOffer

AT_ONCE = 8
MAX_ASKED = 6
"""Nodes asked for one agent."""

log = structlog.get_logger("agents")


@dataclass(slots=True)
class Moved:
    """What became of the agents of a node that leaves."""

    moved: int = 0
    stayed: list[bytes] = field(default_factory=list)
    """Nobody took them; they are in the book of this node."""


class Migration:
    """Moves all agents away, once."""

    def __init__(self, runtime: Runtime, me: NodeId, host: AgentHost, handover: Handover, swarm: Swarm) -> None:
        self._runtime = runtime
        self._me = me
        self._host = host
        self._handover = handover
        self._swarm = swarm
        self._rooms: dict[NodeId, int] = {}
        self._offered: set[bytes] = set()
        """Agents that a node may have, whoever waited for its word: asking another would risk two of each."""
        self._turn = asyncio.Lock()
        self._result: Moved | None = None

    async def move_all(self, within_s: float) -> Moved:
        """Within so many seconds; nobody is born here from now on. Asked again, it waits for the first time and says the same."""
        async with self._turn:
            if self._result is None:
                self._result = await self._move_all(within_s)
            return self._result

    async def _move_all(self, within_s: float) -> Moved:
        population = self._host.population
        self._host.close_doors()
        result = Moved()
        agents = [agent for agent in population.all() if agent.agent_id not in self._offered]
        waiting = list(agents)
        self._rooms = {node: room for node, room in self._swarm.rooms() if node != self._me}
        deadline = self._runtime.monotonic() + within_s

        async def lane() -> None:
            while waiting:
                agent = waiting.pop()
                try:
                    moved = await self._move(agent, deadline)
                    result.moved += moved
                except MootError as error:
                    log.warning("an agent did not move", agent=show_id(agent.agent_id), reason=str(error))

        try:
            async with asyncio.timeout(within_s), asyncio.TaskGroup() as lanes:
                for _ in range(min(AT_ONCE, len(agents))):
                    lanes.create_task(lane())
        except TimeoutError:
            log.warning("the time to move agents is over", left=len(population.all()))
        result.stayed = [agent.agent_id for agent in population.all()]
        return result

    async def _move(self, agent: Agent, deadline: float) -> bool:
        """Raises `NotAvailable`."""
        population = self._host.population
        asked: set[NodeId] = set()
        while len(asked) < MAX_ASKED and (node_id := self._roomiest(asked)) is not None:
            if population.get(agent.agent_id) is not agent:
                return False  # it died or gave way meanwhile
            asked.add(node_id)
            self._rooms[node_id] -= 1
            agent.entrusted = tuple(dict.fromkeys([node_id, *agent.entrusted]))[:16]
            await population.note(agent)
            data = state_of(agent)
            parent = agent.parent_id or agent.agent_id  # not looked at: the state tells
            offer = BirthOffer(
                agent.agent_id, parent, agent.brain, agent.generation, content_hash(data), len(data),
                list(agent.lineage), agent.epoch + 1, True,
            )  # fmt: skip
            self._offered.add(agent.agent_id)
            outcome = await self._handover.offer(node_id, offer, data, settle_s=max(0.0, deadline - self._runtime.monotonic()))
            if outcome is Outcome.BORN:
                await population.depart(agent, f"moved to {show_id(node_id)}")
                return True
            if outcome is Outcome.UNKNOWN:
                return False
            self._offered.discard(agent.agent_id)
        return False

    def _roomiest(self, asked: set[NodeId]) -> NodeId | None:
        open_doors = [(room, node) for node, room in self._rooms.items() if room > 0 and node not in asked]
        return max(open_doors)[1] if open_doors else None
