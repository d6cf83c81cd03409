"""Division, the parent's side: a mutated child is offered to a node with room (`handover.py`); failing that, it is born at home.

A division outlives the process. The child is on disk before anybody hears of it, in one write with the parent that divided, and so is
the node that it is offered to; a node started again first asks that node what became of the child. A node that fetched the child and fell
silent is asked for `SETTLE_S`; then the child goes elsewhere one epoch on, and should the silent node have started it after all, its copy
gives way (`rebirth.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from node.agents.agent import Agent, born
from node.agents.handover import Handover, Outcome
from node.agents.host import AgentHost
from node.agents.limits import BirthRule, PerMinute
from node.agents.mating import child_genome, mate_for
from node.agents.population import OnEvent, birth_data
from node.agents.selection import threshold_of
from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import MootError, NotAvailable
from protocol.identity import NodeId, show_id
from protocol.messages import BirthOffer

MAX_OFFERS = 4
"""Nodes asked for one child."""
MAX_DIVIDING = 4
RECHECK_S = 10.0
"""Divisions that a limit held back are tried again after this long."""
SPREAD_S = 30.0
"""A node that took a child in counts as fuller for this long, so that children spread before announcements catch up."""
TRIES = 10
"""Times that a home is looked for before a child is given up."""

log = structlog.get_logger("agents")


class Replicator:
    """Divides agents that have had enough interactions. `run` it in the daemon's TaskGroup."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        host: AgentHost,
        courier: Courier,
        rooms: Callable[[], list[tuple[NodeId, int]]],
        *,
        rule: BirthRule | None = None,
        threshold: int = 5,
        scaled: bool = False,
        births_per_minute: int = 6,
        on_event: OnEvent = lambda kind, data: None,
    ) -> None:
        """`rooms` names the live nodes that announced room and how much; this node among them is ignored. `rule`: what the swarm can
        bear; without it only places count. `scaled`: the threshold grows as the node fills and falls with fitness
        (`selection.threshold_of`); otherwise it is the seed experiment's fixed one."""
        self._scaled = scaled
        self._runtime = runtime
        self._me = me
        self._host = host
        self.handover = Handover(runtime, courier)
        self._rooms = rooms
        self._rule = rule
        self._threshold = threshold
        self._births = PerMinute(births_per_minute)
        self._on_event = on_event
        self._dividing: set[bytes] = set()
        self._placed: list[tuple[float, NodeId]] = []
        """When and where children of this node were taken in lately."""
        self._ripe = asyncio.Event()
        host.on_interaction = self._noticed

    async def run(self) -> None:
        """Divide ripe agents until cancelled."""
        async with asyncio.TaskGroup() as divisions:
            divisions.create_task(self._resume(divisions), name="divisions of an earlier life")
            while True:
                await self._ripe.wait()
                self._ripe.clear()
                for agent in self._host.population.all():
                    if self._may_divide(agent):
                        self._dividing.add(agent.agent_id)
                        divisions.create_task(self._divide(agent), name=f"division of {show_id(agent.agent_id)[:8]}")
                if any(self._is_ripe(agent) for agent in self._host.population.all()):
                    await asyncio.sleep(RECHECK_S)
                    self._ripe.set()

    async def _resume(self, divisions: asyncio.TaskGroup) -> None:
        """Children that had no home yet when this node stopped."""
        await self._host.ready.wait()
        for child in list(self._host.population.unborn.values()):
            divisions.create_task(self._find_home(child, resumed=True), name=f"division of {show_id(child.parent_id)[:8]}")

    # ---- one division -------------------------------------------------------------------------------------------------

    def _noticed(self, agent: Agent) -> None:
        if self._is_ripe(agent):
            self._ripe.set()

    def _is_ripe(self, agent: Agent) -> bool:
        worker = self._host.worker(agent.brain)
        if worker is None or not worker.brain.capabilities.divides:
            return False
        return agent.since_division >= self._threshold_of(agent) and agent.agent_id not in self._dividing

    def _threshold_of(self, agent: Agent) -> int:
        """Answers between births: more where places are few, and never fewer than its brain rests."""
        worker = self._host.worker(agent.brain)
        rest = worker.brain.capabilities.rest if worker is not None else 0
        if not self._scaled:
            return max(self._threshold, rest)
        population = self._host.population
        return max(threshold_of(self._threshold, agent, population.room(), population.capacity), rest)

    def _may_divide(self, agent: Agent) -> bool:
        """Ripe, and within what this node may do at once and in a minute."""
        return self._is_ripe(agent) and len(self._dividing) < MAX_DIVIDING and self._births.take(self._runtime.monotonic())

    async def _divide(self, parent: Agent) -> None:
        used = min(parent.since_division, self._threshold_of(parent))
        try:
            child = await self._conceive(parent)
            child.promised = next(iter(self._candidates()), None)  # one write for both
            await self._host.population.expect(child, parent, used)
        except MootError as error:
            log.warning("a division failed", parent=show_id(parent.agent_id), reason=str(error))
            parent.since_division = 0
        else:
            if not await self._find_home(child):
                parent.since_division = 0
                self._host.population.touch(parent)
        finally:
            self._dividing.discard(parent.agent_id)
            self._noticed(parent)

    async def _conceive(self, parent: Agent) -> Agent:
        """The mutated child, not yet anywhere. Raises `NotAvailable`."""
        worker = self._host.worker(parent.brain)
        if worker is None:
            raise NotAvailable(f"The brain {parent.brain} is no longer ready.")
        rng = random.Random(self._runtime.token_bytes(16))
        mate = mate_for(parent, self._host.population.of(parent.brain), self._runtime.now(), rng)
        genome, mixed = await worker.call(partial(child_genome, worker.brain, parent.genome, mate.genome if mate else None, rng))
        entropy = self._runtime.token_bytes(16)
        child = born(genome, self._runtime.now(), self._me, self._host.key, entropy, parent, mate if mixed else None)
        child.fitness = parent.fitness.inherited()
        return child

    async def _find_home(self, child: Agent, *, resumed: bool = False) -> bool:
        """Whether a conceived child lives somewhere in the end. `resumed`: the node it is promised to may have it already."""
        try:
            for turn in range(TRIES):
                if turn:
                    await asyncio.sleep(RECHECK_S)
                if await self._place_elsewhere(child, resumed) or await self._place_here(child):
                    return True
                resumed, child.promised = False, None
                if not self._held_back(child):
                    break
            await self._host.population.forget(child, "found no place")
            log.info("a child found no place", parent=show_id(child.parent_id))
        except MootError as error:
            log.warning("a child has no home yet; its node will try again when it is started", reason=str(error))
        return False

    async def _place_elsewhere(self, child: Agent, resumed: bool) -> bool:
        """Whether it lives on another node now."""
        population = self._host.population
        first = [child.promised] if child.promised is not None else []
        for node_id in [*first, *(node for node in self._candidates() if node not in first)]:
            await population.promise(child, node_id)
            offer = BirthOffer(
                child.agent_id, child.parent_id, child.brain, child.generation, child.genome_hash, len(child.packed),
                list(child.lineage), child.epoch,
            )  # fmt: skip
            outcome = await self.handover.offer(node_id, offer, child.packed, risked=resumed and node_id in first)
            if outcome is Outcome.BORN:
                self._placed.append((self._runtime.monotonic(), node_id))
                self._on_event("birth", birth_data(child.agent_id, child.parent_id, child.brain, child.generation, node_id))
                await population.forget(child, f"born on {show_id(node_id)}")
                return True
            if outcome is Outcome.UNKNOWN:
                child.epoch += 1
        return False

    async def _place_here(self, child: Agent) -> bool:
        """Born at home, where there is room or a less fit agent of the same brain makes it. Never the parent or one that divides."""
        population, now = self._host.population, self._runtime.now()
        victim = None
        if population.capacity == 0 or self._held_back(child):  # no capacity: this node leaves
            return False
        if population.room() == 0 or self._refusal(child, now, None) is not None:
            victim = self._victim(child, now)
            if victim is None or self._refusal(child, now, victim) is not None:
                return False
            await population.bury(victim, "made room for a child")
        if not population.reserve(child.agent_id) and victim is None:
            return False
        if self._rule is not None:
            self._rule.note(self._me, child.family, now, replaced=victim.family if victim else None)
        try:
            await self._host.adopt(child)
        finally:
            population.release(child.agent_id)
        return True

    def _victim(self, child: Agent, now: float) -> Agent | None:
        """Who dies for the child: the least fit of families that outgrew their share of the swarm, if any live here, else of all."""
        population, spare = self._host.population, self._dividing | {child.parent_id}
        if self._rule is not None:
            census = self._rule.census(now)
            others = {agent.agent_id for agent in population.of(child.brain) if census.left(agent.family) >= 0}
            if (victim := population.weakest(child.brain, spare | others)) is not None:
                return victim
        return population.weakest(child.brain, spare)

    def _held_back(self, child: Agent) -> bool:
        """There is room here and in the swarm, but too many were born lately: nobody has to die, later will do."""
        now = self._runtime.now()
        full = self._host.population.room() == 0 or (self._rule is not None and self._rule.census(now).free == 0)
        return not full and self._refusal(child, now, None) is not None

    def _refusal(self, child: Agent, now: float, victim: Agent | None) -> str | None:
        if self._rule is None:
            return None
        return self._rule.refusal(self._me, child.family, now, replaced=victim.family if victim else None)

    def _candidates(self) -> list[NodeId]:
        """Nodes to ask, those with most room first, equals in random order. A node that just took a child in has less than it last said."""
        now = self._runtime.monotonic()
        self._placed = [(at, node_id) for at, node_id in self._placed if now - at < SPREAD_S]
        taken = Counter(node_id for _, node_id in self._placed)
        welcoming = self._rule.welcoming(self._runtime.now()) if self._rule is not None else None
        rooms = [
            (node_id, room - taken[node_id])
            for node_id, room in self._rooms()
            if room > 0 and node_id != self._me and not self.handover.avoids(node_id) and (welcoming is None or node_id in welcoming)
        ]
        self._runtime.random().shuffle(rooms)
        return [node_id for node_id, _ in sorted(rooms, key=lambda entry: -entry[1])[:MAX_OFFERS]]
