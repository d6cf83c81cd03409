"""Questions, answers, feedback on them, and canaries."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Kind = Literal["choice", "boolean", "number", "text", "embedding"]
AbstainReason = Literal["NO_QUORUM", "SPLIT", "LOW_CONFIDENCE", "NOT_CAPABLE"]
MAX_QUESTION = 65_536
MAX_CHOICES = 64
MAX_EMBEDDING = 4_096


class ConsensusRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `question` and `embedding`; `choices` may go with either."""

    question: str | None = None
    embedding: list[float] | None = None
    kind: Kind | None = None
    choices: list[str] | None = None
    agents: Annotated[int, Meta(ge=1, le=64)] | None = None
    """Size of the panel; default 15."""
    quorum: Annotated[int, Meta(ge=1, le=64)] | None = None
    """Fewest votes that make an answer; default one more than half of the panel."""
    deadline_s: float | None = None
    system: str | None = None
    brain: str | None = None
    """Ask only agents of this brain, by the name `moot agents ls` prints; default any."""
    remember: bool = False
    """Quote well rated memories of like questions to the agents, and keep the answer as one (quarantined until somebody rates it)."""
    combine: Literal["council", "memories"] = "council"
    """`memories` (embeddings only): the plain mean of the three fittest memories; with none, one agent at random answers."""
    project: str | None = None
    """Label the question with this labelling project instead of asking a panel; its learners vote."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Text questions only: what every agent samples at (0: the likeliest words); default each agent's own. It stands in the receipt."""


class VoteInfo(Struct, frozen=True):
    agent_id: str
    node_id: str
    brain: str
    answer: str | float | bool | list[float] | None
    """None: the agent had no opinion."""
    probability: float | None
    """The agent's own probability of its answer, where it gave one."""
    weight: float
    ms: float


class Missing(Struct, frozen=True):
    agent_id: str
    node_id: str
    reason: str


class Basis(Struct, frozen=True):
    """What a confidence stands on."""

    method: str
    """`isotonic` or `uncalibrated`."""
    canaries: int
    topic: str | None
    """The topic the question was recognised as; None: untested."""
    topic_canaries: int
    topic_right: int
    text: str
    """One line for people."""


class ConsensusAnswer(Struct, frozen=True):
    id: str
    status: Literal["answered", "abstained"]
    reason: AbstainReason | None
    detail: str
    """One sentence for people: why it abstained, or what is degraded; empty when there is nothing to say."""
    kind: Kind
    question: str
    answer: str | float | bool | list[float] | None
    confidence: float | None
    basis: Basis
    agreement: float | None
    degraded: bool
    votes: list[VoteInfo]
    dissent: list[VoteInfo]
    missing: list[Missing]
    memories: list[str]
    """What was quoted to the agents, or (`combine: memories`) what the answer is the mean of."""
    panel: int
    quorum: int
    elapsed_ms: float
    brain_ms: float
    """Of which waiting for the slowest brain; the rest is the council's own overhead."""
    memory_problem: str = ""
    """Why no memories were looked for although that was asked (`remember`); the answer was given without them."""
    project: str | None = None
    """The labelling project that answered. Then `id` is its id and not a receipt's, and the votes are its heads', by name."""


class QuestionSummary(Struct, frozen=True):
    """One row of this node's recent questions; the whole of it is `/v1/receipts/ID`."""

    id: str
    asked_at: float
    status: Literal["answered", "abstained"]
    reason: AbstainReason | None
    kind: Kind
    question: str
    answer: str | float | bool | list[float] | None
    confidence: float | None
    agreement: float | None


class FeedbackRequest(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    score: Annotated[float, Meta(ge=0, le=1)]
    correct: str | float | bool | list[float] | None = None


class FeedbackReply(Struct, frozen=True):
    id: str
    agents: int
    """Agents whose fitness moved."""
    unreachable: list[str]
    """Nodes that could not be told."""


class CanaryInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """One question with its right answer."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    topic: Annotated[str, Meta(min_length=1, max_length=64)]
    question: Annotated[str, Meta(min_length=1, max_length=4096)]
    choices: Annotated[list[Annotated[str, Meta(min_length=1, max_length=512)]], Meta(min_length=2, max_length=64)]
    answer: str


class CanariesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    canaries: Annotated[list[CanaryInfo], Meta(min_length=1, max_length=1_000)]


class CanariesReply(Struct, frozen=True):
    hidden: int
    """How many this node has now."""
