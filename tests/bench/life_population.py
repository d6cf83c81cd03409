"""A virtual day of many agents on many nodes: does the swarm keep within its budget, and does any family take it over?

Hosts, brains' workers, divisions, nurseries, selection, the birth budget, signed descent and signed records are the product's; agents
are scripted. Mail between nodes is a call with latency and losses in place of links, announcements reach everybody half a second after a
change, nobody is watched for life, and the DHT is one table of signed records. A few families are favoured (always asked, always rated
right) and a few nodes are greedy (they keep to no budget of their own).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from node.agents.homes import Homes
from node.agents.host import AgentHost, Surroundings
from node.agents.limits import BirthRule
from node.agents.nursery import Nursery
from node.agents.replication import Replicator
from node.brains.registry import Team
from node.testing import World, simulate, tasks_until_left
from node.testing.book import MemoryBook
from node.testing.brain import ScriptedBrain
from protocol.ballots import Question
from protocol.births import Census, Household
from protocol.errors import LocalError, PeerError, Refused, Unreachable
from protocol.homes import home_key
from protocol.identity import Member, NodeId, node_id_of
from protocol.messages import LinkMessage
from protocol.records import Record, merge, sign
from tests.bench.report import Bar, Report

ROUND_S = 600.0
ANNOUNCE_S = 0.5
LOSS = 0.01


@dataclass(frozen=True, slots=True)
class Town:
    """What is simulated."""

    nodes: int = 200
    founders: int = 4
    capacity: int = 12
    hours: float = 24.0
    greedy: int = 10
    favoured: int = 5
    ceiling: bool = True
    seed: int = 1


@dataclass(slots=True)
class Day:
    """What was seen: one entry a sample in each list."""

    population: list[int] = field(default_factory=list)
    budget: list[int] = field(default_factory=list)
    largest_family: list[float] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    """Records that say an agent lives where it does not."""
    unlisted: list[int] = field(default_factory=list)
    """Agents without a record."""
    twice: list[int] = field(default_factory=list)
    births: int = 0
    deaths: int = 0
    families_left: int = 0


class Unbounded(Census):
    """The same swarm without a ceiling for families."""

    @property
    def ceiling(self) -> int:
        return self.population + 1


class Mail:
    """Every node's handlers; a request takes some milliseconds or is lost, before or after it was served."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._handlers: dict[NodeId, dict[type, Callable[[Member, Any], Awaitable[LinkMessage | None]]]] = {}

    def of(self, me: NodeId, key: bytes) -> Courier:
        self._handlers[me] = {}
        return Courier(self, me, key)

    def on(self, me: NodeId, kind: type, handler: Callable[[Member, Any], Awaitable[LinkMessage | None]]) -> None:
        self._handlers[me][kind] = handler

    async def request(self, sender: Member, to: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        await asyncio.sleep(self._rng.uniform(0.001, 0.02))
        if self._rng.random() < LOSS:
            await asyncio.sleep(timeout)
            raise Unreachable("lost")
        try:
            reply = await self._handlers[to][type(message)](sender, message)
        except Refused:
            raise
        except PeerError as error:
            raise Refused("refused", str(error)) from error
        if reply is None:
            raise LocalError("a request without an answer")
        if self._rng.random() < LOSS:
            await asyncio.sleep(timeout)
            raise Unreachable("the answer is lost")
        return reply


class Courier:
    """One node's mail (`node.links.courier.Courier`)."""

    def __init__(self, mail: Mail, me: NodeId, public: bytes) -> None:
        self._mail = mail
        self._member = Member(me, public, False, 4e9)

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        return await self._mail.request(self._member, node_id, message, timeout)

    async def send(self, node_id: NodeId, message: LinkMessage) -> None:
        raise LocalError("nothing is sent one way here")

    def on(self, message_type: type, handler: Callable[[Member, Any], Awaitable[LinkMessage | None]]) -> None:
        self._mail.on(self._member.node_id, message_type, handler)


class Table:
    """Signed records of everybody, merged as holders do."""

    def __init__(self) -> None:
        self.records: dict[bytes, dict[tuple[bytes, str], Record]] = {}
        self.seq = 0


class Shelf:
    """One node's way to the table (`node.agents.seams.Shelf`)."""

    def __init__(self, world: World, name: str, table: Table) -> None:
        self._key = world.key(name)
        self._now = world.runtime.now
        self._table = table

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object:
        await asyncio.sleep(0.02)
        self._table.seq += 1
        expires_at = int(self._now()) + ttl_s
        record = sign(self._key, key=key, subkey=subkey, seq=self._table.seq, value=value, expires_at=expires_at)
        self._table.records[key] = merge(self._table.records.get(key, {}).values(), [record])
        return record

    async def get(self, key: bytes) -> list[Record]:
        return [record for record in self._table.records.get(key, {}).values() if record.expires_at > self._now()]


class NoTopics:
    def infer(self, question: str, choices: object) -> str | None:
        return None


class Villager:
    """One node."""

    def __init__(self, village: Village, world: World, number: int, town: Town) -> None:
        name = f"n{number}"
        self.runtime = world.runtime_of(name)
        key = world.key(name)
        self.id = node_id_of(key.public)
        self.village = village
        self.births = self.deaths = 0
        self._dirty = False
        around = Surroundings(on_event=self._on_event, on_change=self._on_change, key=key)
        team = Team(ScriptedBrain(), town.founders)
        self.host = AgentHost(self.runtime, self.id, MemoryBook(), [team], NoTopics(), (), capacity=town.capacity, surroundings=around)
        courier = village.mail.of(self.id, key.public)
        greedy = number >= town.nodes - town.greedy
        rule = BirthRule(self.id, village.census)
        self.replicator = Replicator(
            self.runtime, self.id, self.host, courier, village.rooms, rule=None if greedy else rule, scaled=True,
            births_per_minute=1_000 if greedy else 6,
        )  # fmt: skip
        self.nursery = Nursery(self.runtime, self.host, courier, rule=rule)
        self.homes = Homes(self.runtime, self.id, self.host.population, Shelf(world, name, village.table), village, None)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        for loop in (self.host.run, self.replicator.run, self.nursery.run, self.homes.run):
            tasks.create_task(loop())
        await self.host.ready.wait()
        self.announce()

    def announce(self) -> None:
        self._dirty = False
        agents = self.host.population.all()
        self.village.hear(Household(self.id, len(agents), self.host.room(), Counter(agent.family for agent in agents)))

    def _on_change(self) -> None:
        if not self._dirty:
            self._dirty = True
            asyncio.get_running_loop().call_later(ANNOUNCE_S, self.announce)
        if hasattr(self, "homes"):
            self.homes.changed()

    def _on_event(self, kind: str, data: object) -> None:
        if kind == "birth":
            self.births += 1
        else:
            self.deaths += 1


class Village:
    """All nodes and what they announced."""

    def __init__(self, world: World, town: Town) -> None:
        self.mail = Mail(world.runtime_of("mail").random())
        self.table = Table()
        self._heard: dict[NodeId, Household] = {}
        self._kind = Census if town.ceiling else Unbounded
        self._census: Census | None = None
        self.homes = [Villager(self, world, number, town) for number in range(town.nodes)]

    def hear(self, household: Household) -> None:
        self._heard[household.node_id] = household
        self._census = None

    def census(self) -> Census:
        if self._census is None:
            self._census = self._kind(self._heard.values())
        return self._census

    def rooms(self) -> list[tuple[NodeId, int]]:
        return [(home.node_id, home.room) for home in self._heard.values() if home.room > 0]

    def living(self) -> list[NodeId]:
        return list(self._heard)

    def claims(self) -> dict[bytes, list[tuple[int, NodeId]]]:
        return {}

    def departed(self) -> list[Any]:
        return []


def live(town: Town, tell: Callable[[str], None] = lambda text: None) -> Day:
    """The town's hours, sampled every `ROUND_S`."""
    day = Day()

    async def main(world: World) -> None:
        async with tasks_until_left() as tasks:
            village = Village(world, town)
            for home in village.homes:
                await home.start(tasks)
            await _hours(village, town, day, tell)

    simulate(town.seed, main, limit_s=town.hours * 3_600.0 + 3_600.0)
    return day


async def _hours(village: Village, town: Town, day: Day, tell: Callable[[str], None]) -> None:
    rng = random.Random(town.seed)
    favoured = {home.host.population.all()[0].family for home in village.homes[: town.favoured]}
    rounds = int(town.hours * 3_600.0 / ROUND_S)
    for number in range(rounds):
        for home in village.homes:
            await _ask(home, favoured, rng, number)
        await asyncio.sleep(ROUND_S)
        _sample(village, day)
        tell(f"{village.census().population} agents after {(number + 1) * ROUND_S / 3_600.0:.1f} of {town.hours:g} virtual hours")
    day.births = sum(home.births for home in village.homes)
    day.deaths = sum(home.deaths for home in village.homes)
    day.families_left = len(village.census().families)


async def _ask(home: Villager, favoured: set[bytes], rng: random.Random, number: int) -> None:
    """Two questions: the favoured answer both, the others about one; the favoured are right, of the others every second."""
    for _ in range(2):
        agents = home.host.population.all()
        asked = [agent for agent in agents if agent.family in favoured or rng.random() < 0.5]
        question = Question(rng.randbytes(20), "choice", "Which?", ["a", "b"], [], "", 0.0)
        await home.host.vote(question, [agent.agent_id for agent in asked], 1.0)
        now = home.runtime.now()
        for agent in asked:
            agent.fitness = agent.fitness.rated(float(agent.family in favoured or rng.random() < 0.5), now=now)


def _sample(village: Village, day: Day) -> None:
    """The truth, not what was announced."""
    living = [(agent, home) for home in village.homes for agent in home.host.population.all()]
    where = Counter(agent.agent_id for agent, _ in living)
    here = {(agent.agent_id, home.id) for agent, home in living}
    families = Counter(agent.family for agent, _ in living)
    now = village.homes[0].runtime.now()
    keys = {home_key(agent_id): agent_id for agent_id, _ in here}
    stated = [
        (key, node_id_of(record.author))
        for key, slots in village.table.records.items()
        for record in slots.values()
        if record.value and record.expires_at > now
    ]
    day.population.append(len(living))
    day.budget.append(village.census().budget)
    day.largest_family.append(max(families.values()) / len(living))
    day.orphans.append(sum((keys.get(key, b""), node) not in here for key, node in stated))
    day.unlisted.append(len(here - {(keys.get(key, b""), node) for key, node in stated}))
    day.twice.append(sum(count > 1 for count in where.values()))


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """This part of `life` alone; `seeds` is not looked at."""
    report = Report()
    measure_population(tell, report)
    return report


def measure_population(tell: Callable[[str], None], report: Report) -> None:
    """2,000 agents on 200 nodes for a virtual day, and a smaller town with and without the ceiling for families."""
    small = Town(nodes=40, greedy=2, favoured=2, hours=8.0)
    shares = {}
    for ceiling in (True, False):
        found = live(Town(small.nodes, small.founders, small.capacity, small.hours, small.greedy, small.favoured, ceiling), tell)
        shares[ceiling] = max(found.largest_family)
    day = live(Town(), tell)
    report.results |= {
        "population_first_last_most": [day.population[0], day.population[-1], max(day.population)],
        "population_budget_least": min(day.budget),
        "population_births_deaths": [day.births, day.deaths],
        "population_families_left": day.families_left,
        "population_samples": len(day.population),
        "population_small_town_largest_family": round(shares[True], 4),
    }
    over = max(have - may for have, may in zip(day.population, day.budget, strict=True))
    report.bars += [
        Bar("a day of 2,000 agents on 200 nodes: most agents over the budget", over, "<=", 0),
        Bar("a day: largest share of a family (baseline: 40 nodes without the ceiling)", max(day.largest_family), "<=", 0.2, shares[False]),
        Bar("a day: records of agents that do not live there", max(day.orphans), "<=", 0),
        Bar("a day: agents without a record", max(day.unlisted), "<=", 0),
        Bar("a day: agents that live twice", max(day.twice), "<=", 0),
    ]


def summary(days: Iterable[Day]) -> str:
    """One line a day, for people."""
    return "\n".join(
        f"{day.population[0]} to {day.population[-1]} agents, budget {day.budget[-1]}, largest family {max(day.largest_family):.1%}, "
        f"{day.births} births, {day.deaths} deaths, {max(day.orphans)} orphans, {max(day.unlisted)} unlisted, {max(day.twice)} twice"
        for day in days
    )
