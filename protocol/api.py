"""The HTTP API's JSON shapes, shared by server, command line and `/openapi.json`. Version 1, stable from the day it first works.

Ids are base32 text. Unknown fields in a request are refused. Errors have OpenAI's shape: `{"error": {...}}`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Kind = Literal["choice", "boolean", "number", "text", "embedding"]
State = Literal["alive", "suspect", "dead", "left"]
AbstainReason = Literal["NO_QUORUM", "SPLIT", "LOW_CONFIDENCE", "NOT_CAPABLE"]

MAX_BODY = 1_048_576
"""Bytes of a request body."""
MAX_QUESTION = 65_536
MAX_CHOICES = 64
MAX_EMBEDDING = 4_096


class ErrorBody(Struct, frozen=True):
    type: str
    code: str | None
    message: str
    param: str | None = None


class ErrorReply(Struct, frozen=True):
    error: ErrorBody


class Health(Struct, frozen=True):
    """`/healthz` (the process answers) and `/readyz` (503 until it can take part)."""

    status: Literal["ok", "starting"]


class BrainInfo(Struct, frozen=True):
    name: str
    family: str
    fingerprint: str
    kinds: list[str]
    state: Literal["loading", "ready", "failed"]
    detail: str = ""
    progress: float = 0.0
    """How far loading is, 0 to 1."""


class NodeInfo(Struct, frozen=True):
    node_id: str
    name: str
    swarm_id: str
    version: str
    address: str
    roles: list[str]
    brains: list[BrainInfo]
    agents: int
    uptime_s: float
    ready: bool
    notices: list[str]
    """What a person should know: no weights, open swarm, renewed ports."""
    measured: int = 0
    """Agents of this node that have answered the canary questions."""


class PeerInfo(Struct, frozen=True):
    node_id: str
    name: str
    address: str
    state: State
    rtt_ms: float | None
    agents: int


class Peers(Struct, frozen=True):
    neighbours: list[PeerInfo]
    members: list[PeerInfo]


class AgentInfo(Struct, frozen=True):
    agent_id: str
    node_id: str
    brain: str
    generation: int
    parent_id: str | None
    fitness: float
    interactions: int
    born_at: float
    genome: str


class ConsensusRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `question` and `embedding`."""

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
    project: str | None = None
    """Label the question with this labelling project instead of asking a panel; its learners vote."""


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
    """Empty until memory arrives with the council's own release."""
    panel: int
    quorum: int
    elapsed_ms: float
    brain_ms: float
    """Of which waiting for the slowest brain; the rest is the council's own overhead."""


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


class DhtPut(Struct, frozen=True, forbid_unknown_fields=True):
    value: str
    subkey: str = ""
    ttl_s: Annotated[int, Meta(ge=1, le=2_592_000)] = 86_400


class DhtPutReply(Struct, frozen=True):
    key: str
    seq: int
    replicas: int
    """Nodes that confirmed they hold it, this one included."""
    expires_at: int


class DhtValue(Struct, frozen=True):
    author: str
    subkey: str
    seq: int
    value: str
    expires_at: int


class DhtValues(Struct, frozen=True):
    key: str
    values: list[DhtValue]


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    ttl_s: Annotated[int, Meta(ge=1, le=31_536_000)] = 3_600
    uses: Annotated[int, Meta(ge=1, le=10_000)] = 1


class TokenReply(Struct, frozen=True):
    id: str
    token: str
    """Shown once; only the hash of its secret is kept."""
    expires_at: float
    uses: int
    join: str
    """The command to type on the other machine."""


class TokenInfo(Struct, frozen=True):
    id: str
    expires_at: float
    uses_left: int


class RunRequest(Struct, frozen=True, forbid_unknown_fields=True):
    task: str
    params: dict[str, int] = {}


class CellInfo(Struct, frozen=True):
    cell: int
    row: int
    column: int
    node_id: str
    score: float
    solution: str
    heard: list[int]


class IterationInfo(Struct, frozen=True):
    iteration: int
    mean: float
    best: float
    worst: float
    cells: list[CellInfo]


class RunInfo(Struct, frozen=True):
    run_id: str
    task: str
    state: Literal["pending", "running", "done", "failed"]
    detail: str
    size: int
    iterations: list[IterationInfo]


class TaskInfo(Struct, frozen=True):
    name: str
    description: str
    params: dict[str, dict[str, int]]


class BroadcastRequest(Struct, frozen=True, forbid_unknown_fields=True):
    topic: Annotated[str, Meta(min_length=1, max_length=64)]
    body: Annotated[str, Meta(max_length=16_384)]


class Event(Struct, frozen=True):
    """What `/v1/events` streams."""

    event: Literal["member", "birth", "death", "message", "consensus", "run"]
    at: float
    data: dict[str, str | float | int | bool | None]


class StopReply(Struct, frozen=True):
    stopping: bool


class LeaveReply(Struct, frozen=True):
    leaving: bool


class ApiFile(Struct, frozen=True):
    """`api.json` in the data directory (0600): how commands on this machine find their daemon."""

    api: str
    admin_token: str
    pid: int
    node_id: str


class Ready(Struct, frozen=True):
    """The one line that `moot up --json` prints."""

    event: Literal["ready"]
    node_id: str
    address: str
    api: str


# ---- OpenAI's surface -----------------------------------------------------------------------------------------------


class ModelInfo(Struct, frozen=True):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct, frozen=True):
    object: Literal["list"]
    data: list[ModelInfo]


class ChatMessage(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False


class ChatRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of OpenAI's request that means something here; `choices` is moot's own extension (`extra_body`)."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=256)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    choices: list[str] | None = None
    deadline_s: float | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=4096)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1, le=4096)] | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    user: str | UnsetType = UNSET


class ChatUsage(Struct, frozen=True):
    """Estimated: a token is counted for every four bytes of text, because every brain has a tokenizer of its own."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatExtra(Struct, frozen=True):
    """moot's own object beside OpenAI's fields: what stands behind the sentence."""

    status: Literal["answered", "abstained"]
    reason: AbstainReason | None
    confidence: float | None
    agreement: float | None
    receipt: str


class ChatReply(Struct, frozen=True):
    role: Literal["assistant"]
    content: str
    refusal: str | None = None


class ChatChoice(Struct, frozen=True):
    index: int
    message: ChatReply
    finish_reason: Literal["stop"]
    logprobs: None = None


class ChatCompletion(Struct, frozen=True):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    moot: ChatExtra


class ChatDelta(Struct, frozen=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatChunkChoice(Struct, frozen=True):
    index: int
    delta: ChatDelta
    finish_reason: Literal["stop"] | None = None


class ChatChunk(Struct, frozen=True):
    """One `data:` line of a streamed completion. `choices` is empty in the last chunk, the one that carries `usage`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: ChatUsage | UnsetType | None = UNSET
    moot: ChatExtra | UnsetType = UNSET
