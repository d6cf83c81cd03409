"""Who is the home of each run, as far as this node has heard: the fence that leaves one home after a partition.

Every claim that comes by (a plan, a checkpoint's notice, a record in the DHT) is shown to `admit`; whoever acts for a home that has been
outranked is refused, and a home that learns of it steps down. Members are believed: one that lies can take a run over, as it could
stop its cells; it cannot make a node run code.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from protocol.identity import NodeId
from protocol.placement import Claim, outranks

MAX_CLAIMS = 1_024
"""Runs whose home is remembered; of the home with most of them the one heard of longest ago is forgotten first, so that a node that
makes runs up forgets its own."""


class Claims:
    """The highest claim of each run."""

    def __init__(self) -> None:
        self._claims: OrderedDict[bytes, Claim] = OrderedDict()
        self._watchers: list[Callable[[bytes, NodeId], None]] = []

    def watch(self, watcher: Callable[[bytes, NodeId], None]) -> None:
        """`watcher(run_id, home)` whenever a run's home changes."""
        self._watchers.append(watcher)

    def admit(self, run_id: bytes, term: int, home: NodeId) -> bool:
        """Whether this claim stands; false when a higher one is known."""
        known = self._claims.get(run_id)
        if known is not None and outranks(run_id, known, (term, home)):
            return False
        self._claims[run_id] = (term, home)
        self._claims.move_to_end(run_id)
        if len(self._claims) > MAX_CLAIMS:
            busiest = Counter(claim[1] for claim in self._claims.values()).most_common(1)[0][0]
            del self._claims[next(run for run, claim in self._claims.items() if claim[1] == busiest)]
        if known is not None and known[1] != home:
            for watcher in self._watchers:
                watcher(run_id, home)
        return True

    def of(self, run_id: bytes) -> tuple[int, NodeId] | None:
        """(term, home) of the highest claim heard."""
        known = self._claims.get(run_id)
        return None if known is None else (known[0], NodeId(known[1]))
