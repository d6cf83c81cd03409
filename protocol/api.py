"""The HTTP API's JSON shapes, shared by server, command line and `/openapi.json`. Version 1, stable from the day it first works.

Ids are base32 text. Unknown fields in a request are refused. Errors have OpenAI's shape: `{"error": {...}}`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

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
    capacity: int = 0
    """Most agents that this node hosts."""
    capacity_reason: str = ""


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
    family: str | None = None
    """Id of the first of its line."""
    family_share: float | None = None
    """The line's part of the agents of the swarm, 0 to 1."""
    epoch: int = 0
    """How often it got a new home because its node left or died."""


class DescentInfo(Struct, frozen=True):
    """One birth in an agent's lineage, checked by hash and signature."""

    agent_id: str
    parent_id: str | None
    generation: int
    genome: str
    """Hash of the genome it was born with."""
    node_id: str
    """The node that conceived it."""
    mate_id: str | None = None
    """The second parent, where there was one."""


class AgentFile(Struct, frozen=True, forbid_unknown_fields=True):
    """An agent as a file (`moot agents export`). Importing it makes a child of it: one agent never lives twice."""

    format: Literal["moot agent 1"]
    brain: str
    agent_id: str
    generation: int
    genome: str
    """The packed genome, base64."""
    lineage: str
    """The signed descent, MessagePack, base64; empty where nobody recorded it."""


class SeedBirth(Struct, frozen=True, tag="birth"):
    """The seed experiment: a division."""

    question: int
    child: int
    parent: int


class SeedStep(Struct, frozen=True, tag="step"):
    question: int
    population: int


class SeedEnd(Struct, frozen=True, tag="end"):
    population: int
    parents: list[int | None]
    memory_norms: list[float]


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


class MemoryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `text` and `embedding`; `value` is the answer to keep."""

    value: str | float | bool | list[float]
    text: Annotated[str, Meta(max_length=MAX_QUESTION)] | None = None
    embedding: Annotated[list[float], Meta(min_length=1, max_length=4096)] | None = None
    fitness: Annotated[float, Meta(ge=0, le=1)] = 0.5
    ttl_s: Annotated[int, Meta(ge=1, le=2_592_000)] = 14 * 86_400


class MemoryAdded(Struct, frozen=True):
    id: str


class MemoryQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`?query=...&top_k=3`."""

    query: Annotated[str, Meta(min_length=1, max_length=4096)]
    top_k: Annotated[int, Meta(ge=1, le=50)] = 3


class MemoryInfo(Struct, frozen=True):
    """A memory as people see it; `text` and `answer` are cut to what a record holds."""

    id: str
    node_id: str
    """Its origin."""
    text: str
    answer: str
    """JSON."""
    likeness: float
    fitness: float
    quarantined: bool
    """Nobody but its author has rated it well: not quoted to agents."""
    at: float
    receipt: str | None


class MemoryRating(Struct, frozen=True, forbid_unknown_fields=True):
    """`text` finds the memory again: its own text, or one like it."""

    id: Annotated[str, Meta(min_length=32, max_length=32)]
    text: Annotated[str, Meta(min_length=1, max_length=4096)]
    score: Annotated[float, Meta(ge=0, le=1)]


class MemoryPurge(Struct, frozen=True, forbid_unknown_fields=True):
    node: str
    """Node id of the origin."""


class MemoryPurged(Struct, frozen=True):
    deleted: int
    """Memories buried everywhere: this node's own. Another node's are hidden here from now on."""
    hidden: bool


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
    params: dict[str, int | float | str] = {}


class RunEdit(Struct, frozen=True, forbid_unknown_fields=True):
    """New values of parameters of a run: live ones at any time, others never."""

    params: dict[str, int | float | str]


class ArtifactInfo(Struct, frozen=True):
    """A file that a run has made."""

    name: str
    bytes: int
    media: str


class CellInfo(Struct, frozen=True):
    cell: int
    row: int
    column: int
    node_id: str
    score: float
    solution: str
    heard: list[int]
    tried: int = 0
    """Proposals evaluated in this iteration."""
    note: str = ""
    """The prompt and the reply, where a model chose; why a cell failed."""


class IterationInfo(Struct, frozen=True):
    iteration: int
    mean: float
    best: float
    worst: float
    cells: list[CellInfo]


class RunInfo(Struct, frozen=True):
    run_id: str
    task: str
    state: Literal["pending", "running", "paused", "stopped", "done", "failed"]
    detail: str
    size: int
    iterations: list[IterationInfo]
    params: dict[str, int | float | str] = {}
    progress: float = 0.0
    """0 to 1."""
    eta_s: float | None = None
    best: float | None = None
    """The best score so far."""
    solution: str = ""
    """What has it, as the task renders it: a word, or JSON."""
    tried: int = 0
    """Proposals evaluated so far."""


class TaskInfo(Struct, frozen=True):
    name: str
    description: str
    params: dict[str, dict[str, int | float | str | bool | list[str]]]
    """For each parameter `default`, `low`, `high` and `step` or `choices`, and whether it is `live`."""


class BroadcastRequest(Struct, frozen=True, forbid_unknown_fields=True):
    topic: Annotated[str, Meta(min_length=1, max_length=64)]
    body: Annotated[str, Meta(max_length=16_384)]


class Event(Struct, frozen=True):
    """What `/v1/events` streams."""

    event: Literal["member", "birth", "death", "message", "consensus", "run", "labelling"]
    at: float
    data: dict[str, str | float | int | bool | None]


class StopReply(Struct, frozen=True):
    stopping: bool


class LeaveReply(Struct, frozen=True):
    leaving: bool
    moved: int = 0
    """Agents that live on another node now."""
    stayed: int = 0
    """Agents that found no room; they are still in the node's database."""


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
