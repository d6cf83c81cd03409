"""What the council needs of the rest of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from protocol.aggregate import Answer
from protocol.ballots import Question, Vote
from protocol.identity import Member, NodeId
from protocol.messages import LinkMessage

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that could sit on a panel, as its node announces it."""

    agent_id: bytes
    node_id: NodeId
    brain: str
    family: str
    fitness: float
    interactions: int
    genome: bytes = b""
    """Content hash of its genome; canary answers hold for one genome."""
    embedding_dim: int = 0


class AgentHost(Protocol):
    """The agents of this node."""

    async def vote(self, question: Question, agent_ids: Sequence[bytes], timeout: float) -> tuple[list[Vote], dict[bytes, str]]:
        """At most one vote an agent, with an empty nonce, and for the others the reason; after at most `timeout` seconds.

        Raises `UserError` when no agent can be asked at all.
        """

    async def canary_votes(self, agent_ids: Sequence[bytes]) -> dict[bytes, list[list[float]]]:
        """Log-probabilities per canary of the agents already measured; empty where one had no opinion."""

    async def rate(self, agent_ids: Sequence[bytes], score: float, correct: Answer, question_id: bytes, rater: bytes = b"") -> int:
        """Move the fitness of those that live here, and teach them where they learn; returns how many there were."""

    async def answer_rated(self, question_id: bytes, answer: Answer, score: float, rater: bytes) -> int:
        """The council's answer was this right: those that were asked may learn from it; returns how many did."""


class Directory(Protocol):
    """Who is in the swarm."""

    def candidates(self, kind: str, embedding_dim: int) -> Sequence[Candidate]:
        """Agents of live nodes, this one included, that answer this kind (`embedding_dim` 0: of any dimension)."""

    def alive(self, node_id: NodeId) -> bool:
        """Not known to be dead or gone."""


class ReceiptBook(Protocol):
    """Where receipts outlive the process. When `save` or `save_rating` returns, it is on disk."""

    async def save(self, receipt_id: bytes, data: bytes) -> None: ...

    async def load(self, receipt_id: bytes) -> bytes | None: ...

    async def recent(self, limit: int) -> list[bytes]:
        """The newest receipts, newest first."""

    async def rated(self, receipt_id: bytes, rater: bytes) -> bool: ...

    async def save_rating(self, receipt_id: bytes, rater: bytes, score: float, at: float) -> None: ...


class TopicModel(Protocol):
    """Which topic of the canaries a question is like (`protocol.topics`)."""

    def infer(self, question: str, choices: Sequence[str]) -> str | None: ...


class Courier(Protocol):
    """Requests to other nodes (`node.links.exchange.Exchange`)."""

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        """Raises `Unreachable` or `Refused`."""

    def on(self, message_type: type[M], handler: Callable[[Member, M], Awaitable[LinkMessage | None]]) -> None: ...
