"""How long this node was out of touch with others, by its own view: only then can an agent have been revived behind its back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.homes import CONFIRM_S
from protocol.identity import NodeId

BELIEVED_S: Final = 600.0
"""So long after two nodes are in touch again, the one believes that the other went on without it."""
MARGIN_S: Final = 15.0
"""By how much two nodes may differ about when they heard from each other last: a little over the time between announcements."""
DOWN_S: Final = 64 * CONFIRM_S
"""Taken for the silence of a node that was down: nobody wrote down for how long."""
MAX_NODES: Final = 4_096


class Absence:
    """Pure: the caller brings the clock (monotonic seconds) and says who is silent."""

    def __init__(self, now: float) -> None:
        """A node that starts was down until now."""
        self._looked_at = now
        self._down_until = now + BELIEVED_S
        self._silences: dict[NodeId, tuple[float, float]] = {}
        """Node -> (how long it was silent, until when that counts)."""

    def look(self, now: float, silent: Mapping[NodeId, float]) -> None:
        """Call often. `silent`: nodes taken for dead, and for how long they said nothing."""
        if now - self._looked_at >= CONFIRM_S - MARGIN_S:  # this process stood still
            self._down_until = now + BELIEVED_S
        self._looked_at = now
        self._silences = {node: known for node, known in self._silences.items() if known[1] > now}
        for node, silence in silent.items():
            if silence >= CONFIRM_S - MARGIN_S and (node in self._silences or len(self._silences) < MAX_NODES):
                self._silences[node] = max(silence, self._silences.get(node, (0.0, 0.0))[0]), now + BELIEVED_S

    def of(self, node: NodeId, now: float) -> float:
        """Seconds for which that node cannot have heard of this one, the benefit of the doubt included; 0 for one in touch all along."""
        if now < self._down_until:
            return DOWN_S
        silence, until = self._silences.get(node, (0.0, 0.0))
        return silence + MARGIN_S if now < until else 0.0
