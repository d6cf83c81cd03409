"""Rates that may not be exceeded: of this node alone, and of the swarm."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from protocol.births import BirthLedger, Census
from protocol.identity import NodeId

HOUR_S = 3_600.0
MAX_ACCOUNTS = 4_096
CENSUS_S = 1.0
"""A census is used for this long: taking one looks at every agent of the swarm."""


class PerMinute:
    """At most `limit` events in any 60 seconds. Pure: the caller brings the clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Count one event at `now` (seconds), or say no."""
        while self._times and now - self._times[0] >= 60.0:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now)
        return True


class Accounts:
    """At most `limit` agents an hour on the account of each node; the same agent counts once. Pure: the caller brings the clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._charged: dict[NodeId, dict[bytes, float]] = {}

    def take(self, node: NodeId, agent_id: bytes, now: float) -> bool:
        """Charge the node, or say no."""
        lately = {one: at for one, at in self._charged.get(node, {}).items() if now - at < HOUR_S}
        if agent_id not in lately and (len(lately) >= self._limit or not self._has_place(node, now)):
            return False
        self._charged[node] = {agent_id: now, **lately}
        return True

    def _has_place(self, node: NodeId, now: float) -> bool:
        if node not in self._charged and len(self._charged) >= MAX_ACCOUNTS:
            self._charged = {one: agents for one, agents in self._charged.items() if now - max(agents.values()) < HOUR_S}
        return node in self._charged or len(self._charged) < MAX_ACCOUNTS


class BirthRule:
    """The swarm's birth budget (`protocol.births`) as this node keeps to it, for children it takes in and for those born at home."""

    def __init__(self, me: NodeId, census: Callable[[], Census]) -> None:
        self._census = census
        self._ledger = BirthLedger(me)
        self._taken: tuple[float, Census] | None = None

    def census(self, now: float) -> Census:
        """The swarm as announced; at most `CENSUS_S` old."""
        if self._taken is None or not 0.0 <= now - self._taken[0] < CENSUS_S:
            self._taken = now, self._census()
        return self._taken[1]

    def refusal(self, parent: NodeId, family: bytes, now: float, *, replaced: bytes | None = None) -> str | None:
        """As in `BirthLedger.refusal`."""
        return self._ledger.refusal(self.census(now), parent, family, now, replaced=replaced)

    def welcoming(self, now: float) -> frozenset[NodeId]:
        """Nodes worth asking: `BirthLedger.welcoming`."""
        return self._ledger.welcoming(self.census(now), now)

    def note(self, parent: NodeId, family: bytes, now: float, *, replaced: bytes | None = None) -> None:
        """One child was let in."""
        self._ledger.note(parent, family, now, replaced=replaced)
