"""Who lives here: the agents of this node, the room for more, and their copy on disk.

Counters and genomes are written behind, a second late at most (a crash may forget the last second of interactions); a birth is on disk
before anybody hears of it, a death likewise. A child that is conceived is on disk too (`expect`), in one write with the parent that
divided, so that a crash in the middle of a division neither loses nor repeats it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Literal

import structlog

from node.agents.agent import Agent, AgentRow, from_row, read_row, to_row
from node.agents.behind import WriteBehind
from node.agents.book import AgentBook
from node.agents.founding import with_descent
from node.agents.genome import unpack
from node.agents.selection import Selection, least_fit
from node.brains.base import Brain
from node.runtime import Runtime
from protocol.errors import Malformed, PeerError, UserError
from protocol.identity import NodeId, NodeKey, show_id

MAX_GONE = 4_096

Data = Mapping[str, str | float | int | bool | None]
OnEvent = Callable[[Literal["birth", "death"], Data], None]
"""What people and the API hear of: fields are text ids, as in `protocol.api.nodes.Event`."""
log = structlog.get_logger("agents")


class Population:
    """At most `capacity` agents, counting places that are reserved for children on their way."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        book: AgentBook,
        capacity: int,
        on_event: OnEvent,
        on_change: Callable[[], None],
        selection: Selection = least_fit,
        key: NodeKey | None = None,
    ) -> None:
        """`key` signs a descent for agents that have none (`founding.py`)."""
        self._key = key
        self._runtime = runtime
        self._me = me
        self._book = book
        self._capacity = capacity
        self._on_event = on_event
        self._on_change = on_change
        self._selection = selection
        self._agents: dict[bytes, Agent] = {}
        self._rows: dict[bytes, AgentRow] = {}
        self._reserved: set[bytes] = set()
        self._changed: set[bytes] = set()
        self._departing: set[bytes] = set()
        """Agents whose end is on its way to the disk: written down again they would be back after a restart."""
        self.unborn: dict[bytes, Agent] = {}
        """Children that have no home yet."""
        self.gone: deque[bytes] = deque(maxlen=MAX_GONE)
        """Who died or moved away and still has a record in the DHT; `homes.py` takes them off."""
        self.behind = WriteBehind(self._save, "agents")

    def get(self, agent_id: bytes) -> Agent | None:
        return self._agents.get(agent_id)

    def holds(self, agent_id: bytes) -> bool:
        """Whether it lives here, or would if its brain worked."""
        return agent_id in self._agents or (agent_id in self._rows and not self._rows[agent_id].unborn)

    def all(self) -> list[Agent]:
        return list(self._agents.values())

    def of(self, brain: str) -> list[Agent]:
        return [agent for agent in self._agents.values() if agent.brain == brain]

    @property
    def capacity(self) -> int:
        """Most agents that live here; less than live here already only stops births."""
        return self._capacity

    @capacity.setter
    def capacity(self, agents: int) -> None:
        if agents != self._capacity:
            self._capacity = agents
            self._on_change()

    # ---- room -----------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more agents fit."""
        return max(0, self._capacity - len(self._agents) - len(self._reserved))

    def reserve(self, child_id: bytes) -> bool:
        """Keep a place for a child. False when there is none."""
        if child_id in self._reserved or self.room() == 0:
            return False
        self._reserved.add(child_id)
        self._on_change()
        return True

    def release(self, child_id: bytes) -> None:
        """Give the place back; idempotent."""
        if child_id in self._reserved:
            self._reserved.remove(child_id)
            self._on_change()

    def weakest(self, brain: str, spare: Collection[bytes]) -> Agent | None:
        """Who dies first of a brain (`selection`), but none of `spare`. One brain's children never push out another's."""
        return self._selection(self.of(brain), frozenset(spare) | self._departing, self._runtime.now())

    # ---- life and death -------------------------------------------------------------------------------------------

    async def expect(self, child: Agent, parent: Agent, used: int) -> None:
        """A child is conceived: written down together with its parent, which `used` up so many interactions. Raises `NotAvailable`."""
        parent.since_division -= used
        await self._book.save({parent.agent_id: to_row(parent), child.agent_id: to_row(child, unborn=True)})
        self.unborn[child.agent_id] = child

    async def promise(self, child: Agent, node_id: NodeId) -> None:
        """The child is about to be offered to a node, on disk first. Raises `NotAvailable`."""
        if child.promised != node_id:
            child.promised = node_id
            await self._book.save({child.agent_id: to_row(child, unborn=True)})

    async def forget(self, child: Agent, reason: str) -> None:
        """An unborn child lives elsewhere or nowhere. Raises `NotAvailable`."""
        await self._book.bury(child.agent_id, self._runtime.now(), reason)
        self.unborn.pop(child.agent_id, None)

    async def adopt(self, agent: Agent, *, came: bool = False) -> None:
        """Write the agent down, then let it live. `came`: it was born long ago. Raises `NotAvailable` when the disk refuses."""
        agent.promised = None
        await self._book.save({agent.agent_id: to_row(agent)})
        self._agents[agent.agent_id] = agent
        self.unborn.pop(agent.agent_id, None)
        self._reserved.discard(agent.agent_id)
        self._on_change()
        if agent.parent_id and not came:
            self._on_event("birth", birth_data(agent.agent_id, agent.parent_id, agent.brain, agent.generation, self._me))

    async def bury(self, agent: Agent, reason: str) -> None:
        """The agent dies; its death is recorded. Raises `NotAvailable` when the disk refuses."""
        await self.depart(agent, reason)
        self._on_event("death", {"agent_id": show_id(agent.agent_id), "brain": agent.brain, "reason": reason})

    async def depart(self, agent: Agent, reason: str) -> None:
        """The agent lives on elsewhere; here it is gone. Raises `NotAvailable` when the disk refuses."""
        if self._agents.get(agent.agent_id) is not agent or agent.agent_id in self._departing:
            return
        self._departing.add(agent.agent_id)
        try:
            await self._book.bury(agent.agent_id, self._runtime.now(), reason)
        finally:
            self._departing.remove(agent.agent_id)
            self.behind.wake()  # what changed meanwhile was held back
        self.gone.append(agent.agent_id)
        self._agents.pop(agent.agent_id, None)
        self._changed.discard(agent.agent_id)
        self._on_change()

    async def note(self, agent: Agent) -> None:
        """Write a change of an agent that lives here down at once. Raises `NotAvailable` when the disk refuses."""
        if self._agents.get(agent.agent_id) is agent and agent.agent_id not in self._departing:
            await self._book.save({agent.agent_id: to_row(agent)})

    def touch(self, agent: Agent) -> None:
        """The agent changed: write it down soon."""
        if agent.agent_id in self._agents:
            self._changed.add(agent.agent_id)
            self.behind.wake()

    # ---- disk -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the book. Agents live again once their brain is loaded (`revive`); those of other brains stay in the book."""
        for agent_id, data in (await self._book.load_all()).items():
            try:
                self._rows[agent_id] = read_row(data)
            except Malformed as error:
                log.warning("an agent's row is damaged and stays in the database", agent=show_id(agent_id), reason=str(error))
        if self._key is not None:
            known = await with_descent(self._book, self._rows, self._key, self._runtime.now())
            self.gone.extend(self._rows.keys() - known.keys())
            self._rows = known

    def revive(self, brain: Brain) -> None:
        """Bring back this brain's agents."""
        schema = brain.schema()
        for agent_id, row in [(agent_id, row) for agent_id, row in self._rows.items() if row.brain == brain.name]:
            try:
                here = self.unborn if row.unborn else self._agents
                here[agent_id] = from_row(row, unpack(row.genome, brain.name, schema))
                del self._rows[agent_id]
            except PeerError as error:
                log.warning("an agent's genome no longer fits its brain", agent=show_id(agent_id), reason=str(error))
        self._on_change()

    async def _save(self) -> None:
        changed, self._changed = self._changed - self._departing, self._changed & self._departing
        try:
            if changed:
                await self._book.save({agent_id: to_row(self._agents[agent_id]) for agent_id in sorted(changed)})
        except UserError as error:
            self._changed |= changed & self._agents.keys()
            log.error("agents cannot be written down", reason=str(error))


def birth_data(child_id: bytes, parent_id: bytes, brain: str, generation: int, node_id: NodeId) -> Data:
    """A birth as an event: `node_id` is where the child lives."""
    return {
        "agent_id": show_id(child_id),
        "parent_id": show_id(parent_id),
        "brain": brain,
        "generation": generation,
        "node_id": show_id(node_id),
    }
