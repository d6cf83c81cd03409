"""A daemon that exists only as the protocols of `node.http.services`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from node.council.request import check_request
from node.events import EventBus
from node.http.access import Access
from node.http.services import AgentScope, Limits, RunOrder, Services
from node.runtime import SystemRuntime
from protocol.api.agents import AgentFile, AgentInfo, DescentInfo
from protocol.api.council import (
    Basis,
    CanariesReply,
    CanariesRequest,
    ConsensusAnswer,
    ConsensusRequest,
    FeedbackReply,
    FeedbackRequest,
    QuestionSummary,
    VoteInfo,
)
from protocol.api.memory import (
    DhtPut,
    DhtPutReply,
    DhtValue,
    DhtValues,
    MemoryAdded,
    MemoryInfo,
    MemoryPurge,
    MemoryPurged,
    MemoryQuery,
    MemoryRating,
    MemoryRequest,
)
from protocol.api.nodes import BrainInfo, BroadcastRequest, LeaveReply, NodeInfo, PeerInfo, Peers, TokenInfo, TokenReply, TokenRequest
from protocol.api.runs import ArtifactInfo, CellInfo, IterationInfo, RunEdit, RunInfo, RunRequest, TaskInfo
from protocol.errors import NotAvailable, NotFound
from protocol.identity import show_id
from protocol.labelling import RowLabel

ADMIN = "the admin secret"
NODE = show_id(b"n" * 20)
RECEIPT = show_id(b"r" * 20)
PROJECT = "p1234567"
AGENT = AgentInfo(show_id(b"a" * 20), NODE, "tiny", 0, None, 0.5, 3, 1_700_000_000.0, "0" * 64)

ANSWER = ConsensusAnswer(
    id=RECEIPT,
    status="answered",
    reason=None,
    detail="",
    kind="choice",
    question="Is it good?",
    answer="good",
    confidence=0.8,
    basis=Basis("isotonic", 60, "sentiment", 15, 14, "60 canary questions, 15 of this topic, 14 right"),
    agreement=1.0,
    degraded=False,
    votes=[VoteInfo(AGENT.agent_id, NODE, "tiny", "good", 0.9, 1.0, 12.0)],
    dissent=[],
    missing=[],
    memories=[],
    panel=1,
    quorum=1,
    elapsed_ms=15.0,
    brain_ms=12.0,
)
LABEL = RowLabel("billing", 0.93, 0.667, "", "words=billing; near=billing; meaning=delivery")
ABSTAINED = replace(
    ANSWER, status="abstained", reason="SPLIT", detail="The votes are split 2 to 2.", answer=None, confidence=None, agreement=0.5
)


@dataclass
class FakeNode:
    embedder_problem: str = ""

    def node_info(self) -> NodeInfo:
        brain = BrainInfo("tiny", "tiny", "f" * 64, ["choice", "boolean"], "ready")
        node = NodeInfo(NODE, "here", "s" * 32, "0.1.0", "127.0.0.1:7337", ["keeper"], [brain], 1, 5.0, True, [])
        return replace(node, embedder="minilm", embedder_problem=self.embedder_problem)

    def peers(self) -> Peers:
        peer = PeerInfo(show_id(b"p" * 20), "there", "127.0.0.1:7338", "alive", 0.4, 2)
        return Peers([peer], [peer])

    def agents(self, scope: AgentScope) -> list[AgentInfo]:
        return [AGENT] if scope == "node" else [AGENT, replace(AGENT, agent_id=show_id(b"b" * 20), brain="gemma:270m")]

    def lineage(self, agent_id: str) -> list[DescentInfo]:
        return [DescentInfo(agent_id, None, 0, "0" * 64, NODE)]

    def export_agent(self, agent_id: str) -> AgentFile:
        return AgentFile("moot agent 1", "tiny", agent_id, 0, "AAAA", "")

    async def import_agent(self, file: AgentFile) -> AgentInfo:
        return AGENT


@dataclass
class FakeCouncil:
    answer: ConsensusAnswer = ANSWER
    asked: list[ConsensusRequest] = field(default_factory=list)
    rated: list[FeedbackRequest] = field(default_factory=list)
    thinking: Callable[[], Awaitable[None]] | None = None

    async def ask(self, request: ConsensusRequest) -> ConsensusAnswer:
        check_request(request)
        self.asked.append(request)
        if self.thinking is not None:
            await self.thinking()
        return self.answer

    async def receipt_json(self, receipt_id: str) -> dict[str, Any]:
        if receipt_id != RECEIPT:
            raise NotFound("There is no such receipt on this node: ask the node that was asked.")
        return {"id": RECEIPT, "votes": []}

    async def recent(self, limit: int) -> list[QuestionSummary]:
        one = QuestionSummary(RECEIPT, 1_700_000_000.0, "answered", None, "choice", "Is it good?", "good", 0.8, 1.0)
        return [one][:limit]

    async def feedback(self, request: FeedbackRequest) -> FeedbackReply:
        self.rated.append(request)
        return FeedbackReply(request.id, 1, [])


@dataclass
class FakeDht:
    held: dict[str, str] = field(default_factory=dict)

    async def put(self, key: str, request: DhtPut) -> DhtPutReply:
        self.held[key] = request.value
        return DhtPutReply(key, 1, 3, 1_700_086_400)

    async def get(self, key: str) -> DhtValues:
        return DhtValues(key, [DhtValue(NODE, "", 1, self.held[key], 1_700_086_400)] if key in self.held else [])


@dataclass
class FakeMemory:
    kept: list[MemoryInfo] = field(default_factory=list)
    canary_count: int = 0
    problem: str = ""
    """Why it cannot embed."""

    async def add(self, request: MemoryRequest) -> MemoryAdded:
        self.kept.append(MemoryInfo("m" * 32, NODE, request.text or "", str(request.value), 1.0, 0.5, True, 0.0, None))
        return MemoryAdded("m" * 32)

    async def search(self, query: MemoryQuery) -> list[MemoryInfo]:
        if self.problem:
            raise NotAvailable(self.problem, code="no_embedder")
        return self.kept[: query.top_k]

    async def rate(self, rating: MemoryRating) -> None:
        self.kept = [one for one in self.kept if one.id != rating.id]

    async def purge(self, request: MemoryPurge) -> MemoryPurged:
        return MemoryPurged(len(self.kept), True)

    async def embed(self, texts: list[str]) -> tuple[str, list[list[float]]]:
        return "fake-1", [[float(len(text)), 0.5] for text in texts]

    async def canaries(self, request: CanariesRequest) -> CanariesReply:
        self.canary_count += len(request.canaries)
        return CanariesReply(self.canary_count)


@dataclass
class FakeTokens:
    good: list[str] = field(default_factory=lambda: ["abc"])

    async def create(self, request: TokenRequest) -> TokenReply:
        return TokenReply("abc", "moot1-a-b-c", 1_700_003_600.0, request.uses, "moot join 127.0.0.1:7337 --token moot1-a-b-c")

    async def list(self) -> list[TokenInfo]:
        return [TokenInfo(name, 1_700_003_600.0, 1) for name in self.good]

    async def revoke(self, token_id: str) -> None:
        if token_id not in self.good:
            raise NotFound(f"There is no token '{token_id}': `moot token ls` prints them.")
        self.good.remove(token_id)


@dataclass
class FakeRuns:
    bus: EventBus

    async def start(self, request: RunRequest) -> RunInfo:
        self.bus.emit("run", {"run_id": "run1", "state": "done"})
        return RunInfo("run1", request.task, "pending", "", 9, [])

    def get(self, run_id: str) -> RunInfo:
        if run_id != "run1":
            raise NotFound(f"There is no run '{run_id}': `moot runs ls` prints them.")
        cells = [CellInfo(cell, cell // 2, cell % 2, NODE, float(cell), "...", []) for cell in range(4)]
        return RunInfo("run1", "steps", "done", "", 4, [IterationInfo(1, 1.5, 3.0, 0.0, cells)])

    def tasks(self) -> list[TaskInfo]:
        return [TaskInfo("steps", "climb", {"grid": {"min": 2, "max": 5, "default": 3}})]

    def order(self, run_id: str, state: RunOrder) -> RunInfo:
        return replace(self.get(run_id), state=state)

    def edit(self, run_id: str, edit: RunEdit) -> RunInfo:
        return replace(self.get(run_id), params=edit.params)

    def artifacts(self, run_id: str) -> Sequence[ArtifactInfo]:
        return [ArtifactInfo("best.json", 2, "application/json")]

    def artifact(self, run_id: str, name: str) -> bytes:
        if name != "best.json":
            raise NotFound(f"Run {run_id} has no artifact '{name}'.")
        return b"{}"

    def list(self) -> list[RunInfo]:
        return [self.get("run1")]


@dataclass
class FakeControl:
    is_ready: bool = True
    stopped: bool = False
    left: bool = False
    said: list[BroadcastRequest] = field(default_factory=list)

    def ready(self) -> bool:
        return self.is_ready

    def metrics(self) -> bytes:
        return b"# TYPE moot_agents gauge\nmoot_agents 1.0\n"

    def stop(self) -> None:
        self.stopped = True

    async def leave(self) -> LeaveReply:
        self.left = True
        return LeaveReply(True)

    async def broadcast(self, request: BroadcastRequest) -> None:
        self.said.append(request)


@dataclass
class FakeLabelling:
    """One project that has learnt; only what answers a question."""

    label: RowLabel = LABEL

    def known(self) -> list[str]:
        return [PROJECT]

    async def judge(self, project: str, texts: list[str]) -> list[RowLabel]:
        if project != PROJECT:
            raise NotFound(f"There is no project '{project}'.")
        return [self.label for _ in texts]


@dataclass
class FakeDaemon:
    """The fakes by name, and the `Services` made of them."""

    node: FakeNode = field(default_factory=FakeNode)
    council: FakeCouncil = field(default_factory=FakeCouncil)
    dht: FakeDht = field(default_factory=FakeDht)
    memory: FakeMemory = field(default_factory=FakeMemory)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    bus: EventBus = field(default_factory=lambda: EventBus(SystemRuntime()))
    control: FakeControl = field(default_factory=FakeControl)
    labelling: Any = None
    """A `FakeLabelling` where a test has a project."""

    @property
    def runs(self) -> FakeRuns:
        return FakeRuns(self.bus)

    def services(self, access: Access | None = None, limits: Limits | None = None) -> Services:
        return Services(
            runtime=SystemRuntime(),
            access=access or Access(ADMIN),
            node=self.node,
            council=self.council,
            dht=self.dht,
            tokens=self.tokens,
            runs=self.runs,
            events=self.bus,
            control=self.control,
            memory=self.memory,
            labelling=self.labelling,
            limits=limits or Limits(),
        )
