"""One question while it is being asked: who was asked what, what has come in, how much time is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.council.request import Asking
from node.council.seams import Candidate
from protocol.ballots import MAX_REASON, Commitment, Question, Reveal, Vote
from protocol.identity import Member, NodeId
from protocol.receipts import Seat

REVEAL_SHARE, REVEAL_S = 0.2, 1.0
"""Of the deadline, kept for the reveals: this share, at most so many seconds."""
REST_SHARE, REST_S = 0.05, 0.25
"""And for the rest."""


@dataclass(slots=True)
class Hearing:
    """One question while it is being asked."""

    question: Question
    nonce: bytes
    asking: Asking
    panel: list[Candidate]
    spares: list[Candidate]
    """Who may be asked in place of somebody slow; moved to the panel when asked."""
    started: float
    """Monotonic seconds."""
    commitments: dict[NodeId, tuple[Member, Commitment]] = field(default_factory=dict)
    reveals: dict[NodeId, Reveal] = field(default_factory=dict)
    votes: dict[bytes, Vote] = field(default_factory=dict)
    arrivals: list[float] = field(default_factory=list)
    """Seconds after `started` at which commitments came."""
    reasons: dict[bytes, str] = field(default_factory=dict)
    """Why an agent's vote is missing, as far as known."""
    seated: tuple[int, list[Seat], list[float]] = (-1, [], [])
    """What `Trust.seats` said of the panel as called."""
    wanted: int = field(init=False)
    """Seats of the panel as called; spares add seats, not wants."""

    def __post_init__(self) -> None:
        self.wanted = len(self.panel)

    @property
    def homes(self) -> dict[NodeId, list[bytes]]:
        """The panel's agents by node."""
        homes: dict[NodeId, list[bytes]] = {}
        for candidate in self.panel:
            homes.setdefault(candidate.node_id, []).append(candidate.agent_id)
        return homes

    def excuse(self, agents: Sequence[bytes], reason: str) -> None:
        for agent in agents:
            self.reasons.setdefault(agent, reason[:MAX_REASON])

    @property
    def committed(self) -> int:
        """Agents that have committed to a vote."""
        return sum(len(commitment.agents) for _, commitment in self.commitments.values())

    def take_spares(self, count: int) -> dict[NodeId, list[bytes]]:
        """Move up to `count` spares to the panel; by node. Nodes that were asked already are asked again for another agent."""
        taken, self.spares = self.spares[:count], self.spares[count:]
        self.panel.extend(taken)
        homes: dict[NodeId, list[bytes]] = {}
        for candidate in taken:
            homes.setdefault(candidate.node_id, []).append(candidate.agent_id)
        return homes

    @property
    def reveal_from(self) -> float:
        """When votes that are not committed to are given up."""
        return self.reveal_until - min(REVEAL_SHARE * self.asking.deadline_s, REVEAL_S)

    @property
    def reveal_until(self) -> float:
        return self.started + self.asking.deadline_s - min(REST_SHARE * self.asking.deadline_s, REST_S)

    @property
    def deadline(self) -> float:
        return self.started + self.asking.deadline_s

    @property
    def voters(self) -> list[Candidate]:
        """Those whose votes count, in the order of the panel."""
        return [candidate for candidate in self.panel if candidate.agent_id in self.votes]

    @property
    def missing(self) -> dict[bytes, str]:
        """Every agent of the panel whose vote does not count, in the order of the panel."""
        absent = [candidate.agent_id for candidate in self.panel if candidate.agent_id not in self.votes]
        return {agent: self.reasons.get(agent, "no vote") for agent in absent}
