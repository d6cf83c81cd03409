"""What this node knows of other agents' skill: its own observations, and what other members published of theirs.

Own observations come from hidden canaries and from people's feedback given here; they are kept on disk and published as signed records
(key: the agent; one record a rater). What others publish is read in the background, capped a rater and decayed (`protocol.weights`).
In an open swarm one person can be many raters: the cap is a rater's, so only a closed swarm makes it a person's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from node.runtime import Runtime
from protocol.errors import PeerError, UserError
from protocol.leanings import Mark
from protocol.records import MAX_VALUE, Record, key_of
from protocol.weights import Evidence, Marks, hearsay, merge_raters

MAX_AGENTS = 4_096
MAX_MARKS = 512
"""Canaries remembered of one agent."""
MAX_CHOICES = 4_096
"""Lists of choices whose topic is remembered."""
MAX_TOPICS = 8
"""Topics of one published record: it must fit a record."""
FRESH_S = 600.0
"""Other raters' records are read again after this long."""
TTL_S = 14 * 86_400
READ_S = 5.0
AT_ONCE = 4

log = structlog.get_logger("council")


class Shelf(Protocol):
    """The part of the DHT that is needed here (`node.dht.service.Dht`)."""

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> object: ...

    async def get(self, key: bytes) -> list[Record]: ...


class Account(Struct, array_like=True):
    """Own observations of one agent."""

    topics: dict[str, Evidence]
    marks: dict[str, Mark]


_accounts = msgspec.msgpack.Decoder(dict[bytes, Account])
_published = msgspec.msgpack.Decoder(dict[str, Evidence])


class Ledger:
    """Bounded, least recently touched agents out first."""

    def __init__(self, runtime: Runtime, me: bytes, shelf: Shelf | None = None) -> None:
        """`me`: this node's public key, the author of its own records."""
        self._runtime = runtime
        self._me = me
        self._shelf = shelf
        self._accounts: OrderedDict[bytes, Account] = OrderedDict()
        self._heard: OrderedDict[bytes, tuple[float, list[dict[str, Evidence]]]] = OrderedDict()
        self._unpublished: set[bytes] = set()
        self._topics: dict[bytes, str] = {}
        """Topic of the hidden canaries with these choices (`choices_key`)."""
        self.changed = asyncio.Event()
        """Set by every observation; whoever keeps the ledger clears it."""
        self.version = 0
        """Goes up with every answer to a canary: what was computed from the marks holds until then."""

    # ---- observations ------------------------------------------------------------------------------------------------

    def mark(self, agent: bytes, canary: str, mark: Mark) -> None:
        """An answer to a hidden canary. No opinion counts as neither right nor wrong."""
        account = self._account(agent)
        account.marks[canary] = mark
        while len(account.marks) > MAX_MARKS:
            account.marks.pop(next(iter(account.marks)))
        self.version += 1
        self._index(mark)
        if mark.logprobs:
            self._observe(agent, account, mark.topic, float(mark.right))

    def _index(self, mark: Mark) -> None:
        self._topics[mark.choices] = mark.topic
        while len(self._topics) > MAX_CHOICES:
            del self._topics[next(iter(self._topics))]

    def topic_of(self, choices: bytes) -> str | None:
        """What hidden canaries with these choices are about."""
        return self._topics.get(choices)

    def rate(self, agent: bytes, topic: str, score: float) -> None:
        """A person's rating of this agent's answer, given at this node."""
        self._observe(agent, self._account(agent), topic, score)

    def _observe(self, agent: bytes, account: Account, topic: str, right: float) -> None:
        account.topics[topic] = account.topics.get(topic, Evidence()).plus(right, self._runtime.now())
        self._unpublished.add(agent)
        self.changed.set()

    def _account(self, agent: bytes) -> Account:
        account = self._accounts.setdefault(agent, Account({}, {}))
        self._accounts.move_to_end(agent)
        if len(self._accounts) > MAX_AGENTS:
            self._unpublished.discard(self._accounts.popitem(last=False)[0])
        return account

    # ---- what follows ------------------------------------------------------------------------------------------------

    def evidence(self, agent: bytes, topic: str, choices: int) -> Evidence:
        """Own and others' observations of one agent, for a question on this topic with so many choices."""
        account, now = self._accounts.get(agent), self._runtime.now()
        seen, others = account.topics if account else {}, self._heard.get(agent, (0.0, []))[1]
        everybody = merge_raters(seen, others, topic, now)
        return hearsay(merge_raters(seen, [], topic, now), everybody, choices) if others else everybody

    def marks(self, agent: bytes) -> dict[str, Mark]:
        account = self._accounts.get(agent)
        return account.marks if account else {}

    def hits(self, agent: bytes) -> Marks:
        """Canary -> right?, where the agent had an opinion."""
        return {canary: mark.right for canary, mark in self.marks(agent).items() if mark.logprobs}

    # ---- the other raters --------------------------------------------------------------------------------------------

    def stale(self, agents: Sequence[bytes]) -> list[bytes]:
        """Those of whom others' ratings were not read lately; nobody where there is no DHT."""
        now = self._runtime.monotonic()
        fresh = {agent for agent in agents if agent in self._heard and now - self._heard[agent][0] < FRESH_S}
        return [agent for agent in agents if agent not in fresh] if self._shelf is not None else []

    async def hear(self, agents: Sequence[bytes]) -> None:
        """Read what others published of these agents, where that was not done lately. Never raises for a peer's fault."""
        now, stale = self._runtime.monotonic(), self.stale(agents)
        if self._shelf is None or not stale:
            return
        for agent in stale:  # asked now, whatever comes: one reader an agent
            self._heard[agent] = (now, self._heard.get(agent, (0.0, []))[1])
            self._heard.move_to_end(agent)
        while len(self._heard) > MAX_AGENTS:
            self._heard.popitem(last=False)
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for agent in stale:
                tasks.create_task(self._hear(self._shelf, agent, now, gate))

    async def _hear(self, shelf: Shelf, agent: bytes, now: float, gate: asyncio.Semaphore) -> None:
        async with gate:
            try:
                async with asyncio.timeout(READ_S):
                    records = await shelf.get(_key(agent))
            except (PeerError, UserError, TimeoutError) as error:
                log.debug("ratings not read", reason=str(error))
                return
        others = [record for record in records if record.author != self._me and record.subkey == ""]
        self._heard[agent] = (now, [topics for record in others if (topics := _read(record)) is not None])

    async def publish(self, limit: int = 16) -> int:
        """Write the records of up to `limit` agents whose evidence changed; how many were written."""
        written = 0
        for agent in sorted(self._unpublished)[:limit] if self._shelf is not None else ():
            self._unpublished.discard(agent)
            account = self._accounts[agent]
            newest = sorted(account.topics.items(), key=lambda item: -item[1].at)[:MAX_TOPICS]
            value = msgspec.msgpack.encode({topic[:32]: evidence for topic, evidence in newest})
            try:
                assert self._shelf is not None
                await self._shelf.put(_key(agent), "", value[:MAX_VALUE], TTL_S)
                written += 1
            except (PeerError, UserError) as error:
                log.info("ratings not published", reason=str(error))
        return written

    # ---- disk --------------------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(dict(self._accounts))

    def restore(self, data: bytes) -> None:
        """What `dump` gave; damaged bytes are an empty ledger: evidence is gathered again."""
        try:
            self._accounts = OrderedDict(_accounts.decode(data))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("the ledger does not decode; starting a new one", reason=str(error))
        self.version += 1
        for account in self._accounts.values():
            for mark in account.marks.values():
                self._index(mark)


def _key(agent: bytes) -> bytes:
    return key_of(f"moot ratings {agent.hex()}")


def _read(record: Record) -> dict[str, Evidence] | None:
    """None for what no rater of ours writes: too many topics, negative or infinite figures."""
    try:
        topics = _published.decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    figures = [x for evidence in topics.values() for x in (evidence.good, evidence.bad)]
    sound = len(topics) <= MAX_TOPICS and all(0.0 <= x < 1e6 for x in figures)
    return topics if sound else None
