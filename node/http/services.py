"""What the HTTP API needs from the daemon, as protocols: the handlers know nothing else of the node.

The daemon supplies the real parts, the tests supply fakes. Every method may raise a `UserError` (answered with its status) or a
`PeerError` (answered with 502 or 503); anything else is our bug and becomes a 500 without details.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from node.http.access import Access
from node.runtime import Runtime
from protocol.api.agents import AgentFile, AgentInfo, DescentInfo
from protocol.api.council import (
    CanariesReply,
    CanariesRequest,
    ConsensusAnswer,
    ConsensusRequest,
    FeedbackReply,
    FeedbackRequest,
    QuestionSummary,
)
from protocol.api.memory import (
    DhtPut,
    DhtPutReply,
    DhtValues,
    MemoryAdded,
    MemoryInfo,
    MemoryPurge,
    MemoryPurged,
    MemoryQuery,
    MemoryRating,
    MemoryRequest,
)
from protocol.api.nodes import BroadcastRequest, Event, LeaveReply, NodeInfo, Peers, TokenInfo, TokenReply, TokenRequest
from protocol.api.runs import ArtifactInfo, RunEdit, RunInfo, RunRequest, TaskInfo
from protocol.labelling import (
    AnswerRequest,
    DistrustRequest,
    ExamplesRequest,
    GuestsRequest,
    ProjectInfo,
    ProjectRequest,
    Questions,
    ReceiptInfo,
    RowLabel,
    RowLabels,
    RowsRequest,
)

RunOrder = Literal["running", "paused", "stopped"]
AgentScope = Literal["node", "swarm"]


class NodeService(Protocol):
    """What this node knows of itself and of the others."""

    def node_info(self) -> NodeInfo: ...
    def peers(self) -> Peers: ...
    def agents(self, scope: AgentScope, /) -> list[AgentInfo]: ...
    def lineage(self, agent_id: str, /) -> list[DescentInfo]: ...
    def export_agent(self, agent_id: str, /) -> AgentFile: ...
    async def import_agent(self, file: AgentFile, /) -> AgentInfo: ...


class CouncilService(Protocol):
    """Questions, receipts, feedback. `ask` is cancelled when its client hangs up."""

    async def ask(self, request: ConsensusRequest, /) -> ConsensusAnswer: ...
    async def receipt_json(self, receipt_id: str, /) -> dict[str, Any]: ...
    async def recent(self, limit: int, /) -> list[QuestionSummary]: ...
    async def feedback(self, request: FeedbackRequest, /) -> FeedbackReply: ...


class DhtService(Protocol):
    """The shared memory, by text key."""

    async def put(self, key: str, request: DhtPut, /) -> DhtPutReply: ...
    async def get(self, key: str, /) -> DhtValues: ...


class MemoryService(Protocol):
    """Semantic memory, and this node's hidden canaries."""

    async def add(self, request: MemoryRequest, /) -> MemoryAdded: ...
    async def search(self, query: MemoryQuery, /) -> list[MemoryInfo]: ...
    async def rate(self, rating: MemoryRating, /) -> None: ...
    async def purge(self, request: MemoryPurge, /) -> MemoryPurged: ...
    async def embed(self, texts: list[str], /) -> tuple[str, list[list[float]]]:
        """(embedder, one vector a text)."""

    async def canaries(self, request: CanariesRequest, /) -> CanariesReply: ...


class TokenService(Protocol):
    """Join tokens made by this node. `revoke` raises `NotFound`."""

    async def create(self, request: TokenRequest, /) -> TokenReply: ...
    async def list(self) -> list[TokenInfo]: ...
    async def revoke(self, token_id: str, /) -> None: ...


class RunService(Protocol):
    """Long jobs. `start` and `get` raise `NotFound` for an unknown task or run."""

    async def start(self, request: RunRequest, /) -> RunInfo: ...
    def get(self, run_id: str, /) -> RunInfo: ...
    def tasks(self) -> list[TaskInfo]: ...
    def list(self) -> list[RunInfo]: ...
    def order(self, run_id: str, state: RunOrder, /) -> RunInfo: ...
    def edit(self, run_id: str, edit: RunEdit, /) -> RunInfo: ...
    def artifacts(self, run_id: str, /) -> Sequence[ArtifactInfo]: ...
    def artifact(self, run_id: str, name: str, /) -> bytes: ...


class EventService(Protocol):
    """What happens here. A subscriber gets a bounded queue of its own; one that reads too slowly misses events."""

    def subscribe(self) -> AbstractAsyncContextManager[asyncio.Queue[Event]]: ...


class LabelService(Protocol):
    """Labelling projects of this node; unknown ones raise `NotFound`."""

    async def start(self, request: ProjectRequest, /) -> ProjectInfo: ...
    def known(self) -> list[str]: ...
    async def projects(self) -> list[ProjectInfo]: ...
    async def info(self, project: str, /) -> ProjectInfo: ...
    async def add(self, project: str, request: RowsRequest, /) -> ProjectInfo: ...
    async def add_examples(self, project: str, request: ExamplesRequest, /) -> ProjectInfo: ...
    async def complete(self, project: str, /) -> ProjectInfo: ...
    async def questions(self, project: str, count: int, /) -> Questions: ...
    async def answer(self, project: str, request: AnswerRequest, /) -> ProjectInfo: ...
    async def labels(self, project: str, start: int, /) -> RowLabels: ...
    async def judge(self, project: str, texts: list[str], /) -> list[RowLabel]: ...
    async def receipt(self, project: str, /) -> ReceiptInfo: ...
    async def distrust(self, project: str, request: DistrustRequest, /) -> ProjectInfo: ...
    async def ask_guests(self, project: str, request: GuestsRequest, /) -> ProjectInfo: ...


class ControlService(Protocol):
    """The process itself."""

    def ready(self) -> bool: ...
    def metrics(self) -> bytes:
        """Prometheus text format 0.0.4."""

    def stop(self) -> None:
        """Begin a clean shutdown and return at once."""

    async def leave(self) -> LeaveReply:
        """Move the agents away, tell the swarm that this node will not come back, then begin a clean shutdown."""

    async def broadcast(self, request: BroadcastRequest, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one API serves at once; over it a client is told 429."""

    questions: int = 16
    streams: int = 64


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that `build_app` needs."""

    runtime: Runtime
    access: Access
    node: NodeService
    council: CouncilService
    dht: DhtService
    tokens: TokenService
    runs: RunService
    events: EventService
    control: ControlService
    memory: MemoryService
    labelling: LabelService | None = None
    limits: Limits = field(default_factory=Limits)
