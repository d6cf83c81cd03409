"""How many births a swarm can bear, without anybody who counts them all.

Every node reads the same signed announcements: who hosts how many agents, of which families, and has how much room. From that `Census`
each derives the same three numbers:

budget     all places but a reserve for agents that lose their home: a fifth in a small swarm, a tenth in a large one, nought alone.
free       the budget less the population. In each window of `WINDOW_S` half of it may be filled; nodes with room share that half, and where
           it does not divide evenly, the rest goes to those whose hash with the window comes first (rendezvous order: Thaler and
           Ravishankar, 1998), so that equal views never grant more than there is. Half, because the last window's births may not have
           been announced yet.
ceiling    the most members of one family: a fifth of the population, or a quarter more than an equal share where few families live.
           What a family has left is granted likewise, half of it in a window.

The node that takes a child in checks this, not the one that offers it: a greedy parent meets as many refusals as there are hosts. A node
that lies about its capacity counts for `CREDIBLE` times the median at most; agents it hides are asked nothing. Pure: the caller brings
the clock (wall clock, so that windows agree; clocks that differ by part of a window let through at most the other half).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Final

from protocol.identity import NodeId

WINDOW_S: Final = 60.0
HANDFUL: Final = 16
"""Below this population a family may be as large as it likes: a swarm begins with few."""
FAMILY_SHARE: Final = 0.2
FEW_FAMILIES: Final = 1.25
"""Times an equal share, where a fifth is less than that."""
MOST_AGENTS: Final = 256
"""Of one node, as in an announcement."""
CREDIBLE: Final = 4
MARGIN: Final = 20
"""Births stop one part in so many below a limit: announcements are late, and not everybody keeps to rules."""
MAX_GRANTS: Final = 1_024
"""Families whose share of a window is remembered; for others, which nobody but a flood of invented ones brings, it is worked out anew."""
PARENT_SHARE: Final = 4
"""One parent's node gets a quarter of a host's births in a window (where fewer others live, an equal share), and always one."""


@dataclass(frozen=True, slots=True)
class Household:
    """What one node announced."""

    node_id: NodeId
    agents: int
    room: int
    families: Mapping[bytes, int] = field(default_factory=dict)
    """Family -> its agents here; those whose descent nobody recorded are left out."""


class Census:
    """The swarm as its announcements have it."""

    def __init__(self, households: Iterable[Household]) -> None:
        homes = sorted(households, key=lambda home: home.node_id)
        self.population: int = sum(min(home.agents, MOST_AGENTS) for home in homes)
        self.nodes: list[NodeId] = [home.node_id for home in homes]
        self.hosts: list[NodeId] = [home.node_id for home in homes if home.room > 0]
        self.families: Counter[bytes] = Counter()
        for home in homes:
            self.families.update(home.families)
        claims = [min(home.agents + home.room, MOST_AGENTS) for home in homes]
        typical = max(1, CREDIBLE * median_low(claims)) if claims else 0
        places = [max(min(claim, typical), min(home.agents, MOST_AGENTS)) for claim, home in zip(claims, homes, strict=True)]
        self.capacity: int = sum(places)
        self._largest = max(places, default=0)

    @property
    def reserve(self) -> int:
        """Places kept for agents that move or come back."""
        if len(self.nodes) < 2:
            return 0
        return min(self.capacity // 5, max(self._largest, self.capacity // 10))

    @property
    def budget(self) -> int:
        """The most agents that births may lead to."""
        return self.capacity - self.reserve

    @property
    def free(self) -> int:
        """Births that the swarm has room for; they stop a little short of the budget."""
        return max(0, self.budget - self.budget // MARGIN - self.population)

    def left(self, family: bytes) -> int:
        """Births that a family may still have; they stop a little short of the ceiling. Negative where it holds more."""
        return self.ceiling - self.ceiling // MARGIN - self.families[family]

    @property
    def ceiling(self) -> int:
        """The most members that births may give one family."""
        if self.population < HANDFUL or not self.families:
            return max(HANDFUL, self.population)
        return int(self.population * max(FAMILY_SHARE, min(1.0, FEW_FAMILIES / len(self.families))))

    def share(self, family: bytes) -> float:
        """The family's part of the population."""
        return self.families[family] / self.population if self.population else 0.0


def grant(total: int, me: NodeId, nodes: Sequence[NodeId], salt: bytes) -> int:
    """My part of `total` births: those of all `nodes` add up to it exactly."""
    if me not in nodes or total <= 0:
        return 0
    whole, rest = divmod(total, len(nodes))
    if not rest:
        return whole
    mine = _order(salt, me)
    return whole + (sum(_order(salt, node) < mine for node in nodes) < rest)


class BirthLedger:
    """What one node let in during the present window, and what it may still let in."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._window = -1
        self._born = 0
        self._parents: Counter[NodeId] = Counter()
        self._families: Counter[bytes] = Counter()
        self._grants: dict[bytes, int] = {}
        self._welcoming: frozenset[NodeId] | None = None

    def refusal(self, census: Census, parent: NodeId, family: bytes, now: float, *, replaced: bytes | None = None) -> str | None:
        """Why one more child must not live here now; None when it may. `replaced`: the family of an agent that dies for it, so that the
        population does not grow, and the family not either where it is its own."""
        self._turn(now)
        if replaced is None:
            if census.free <= 0:
                return f"the swarm is full: {census.population} agents of a budget of {census.budget}"
            limit = self._granted(b"", census.free, census.hosts)
            if self._born >= limit:
                return f"this node's share of the swarm's births, {limit} a minute, is used up"
            if parent != self._me and self._parents[parent] >= max(1, limit // min(PARENT_SHARE, max(1, len(census.nodes) - 1))):
                return "too many children of your node this minute"
        if family == replaced:
            return None
        left = census.left(family)
        if left <= 0:
            return f"its family holds {census.share(family):.0%} of the swarm, more than it may"
        if self._families[family] >= self._granted(family, left, census.nodes):
            return "too many children of its family this minute"
        return None

    def welcoming(self, census: Census, now: float) -> frozenset[NodeId]:
        """Nodes whose share of this window's births is not nought: the others need not be asked."""
        self._turn(now)
        if self._welcoming is None:
            half, nodes = (census.free + 1) // 2, census.hosts
            order = sorted(nodes, key=lambda node: _order(self._salt(b""), node))
            self._welcoming = frozenset(order[:half])
        return self._welcoming

    def note(self, parent: NodeId, family: bytes, now: float, *, replaced: bytes | None = None) -> None:
        """One child was let in."""
        self._turn(now)
        if replaced is None:
            self._born += 1
            self._parents[parent] += 1
        if family != replaced:
            self._families[family] += 1

    def _turn(self, now: float) -> None:
        window = int(now // WINDOW_S)
        if window != self._window:
            self._window, self._born = window, 0
            self._parents.clear()
            self._families.clear()
            self._grants.clear()
            self._welcoming = None

    def _granted(self, family: bytes, total: int, nodes: Sequence[NodeId]) -> int:
        """Half of `total`, shared; fixed when it is first asked for in a window, so that births just announced are not counted twice."""
        if family in self._grants:
            return self._grants[family]
        granted = grant((total + 1) // 2, self._me, nodes, self._salt(family))
        if len(self._grants) < MAX_GRANTS:
            self._grants[family] = granted
        return granted

    def _salt(self, family: bytes) -> bytes:
        return self._window.to_bytes(8, "big", signed=True) + family


def _order(salt: bytes, node: NodeId) -> bytes:
    return hashlib.sha256(b"moot grant" + salt + node).digest()
