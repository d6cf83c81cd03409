"""What the HTTP API sees of this node: thin adapters from its parts to `node.http.services`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

import node
from node.admission import Admission
from node.agents.describe import agent_info
from node.agents.files import export_agent, import_agent, lineage_of
from node.agents.host import AgentHost
from node.agents.migration import Moved
from node.brains.embedders import Pinned
from node.config import Config
from node.council.canaries import Canary
from node.council.council import Council
from node.dht.service import Dht
from node.directory import SwarmDirectory
from node.events import EventBus
from node.memory import Memory
from node.metrics import Metrics
from node.overlay.broadcast import Broadcast
from node.overlay.neighbours import Neighbours
from node.runtime import Runtime
from node.situation import Situation
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
from protocol.api.nodes import BroadcastRequest, LeaveReply, NodeInfo, Peers
from protocol.errors import InvalidRequest
from protocol.identity import NodeId, node_id_of, parse_id, show_id
from protocol.pins import short
from protocol.receipts import export_receipt
from protocol.records import MAX_VALUE, key_of

BROADCAST_TTL_S = 600.0


class NodeView:
    """`NodeService`: what this node knows of itself and of the others."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        situation: Situation,
        host: AgentHost,
        directory: SwarmDirectory,
        neighbours: Neighbours,
        admission: Admission,
        pinned: Pinned,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._now = situation
        self._host = host
        self._directory = directory
        self._neighbours = neighbours
        self._admission = admission
        self._pinned = pinned
        self._started = runtime.monotonic()

    def node_info(self) -> NodeInfo:
        return NodeInfo(
            node_id=show_id(self._now.credentials.node_id),
            name=self._config.name,
            swarm_id=show_id(self._now.credentials.swarm_id),
            version=node.__version__,
            address=self._now.address,
            roles=["member", "keeper"] if self._admission.keeper else ["member"],
            brains=self._host.brain_infos(),
            agents=len(self._host.agent_infos()),
            uptime_s=round(self._runtime.monotonic() - self._started, 3),
            ready=self._now.ready,
            notices=self._now.notices,
            measured=self._host.measured(),
            capacity=self._host.population.capacity,
            capacity_reason=self._host.capacity.reason,
            embedder=short(self._pinned.name),
            embedder_problem=self._pinned.problem or "",
            neighbours=len(self._neighbours.view),
            members=len(self._directory.living()),
        )

    def peers(self) -> Peers:
        return self._directory.peers(self._neighbours.view)

    def agents(self, scope: Literal["node", "swarm"]) -> list[AgentInfo]:
        agents, census = self._host.agent_infos() if scope == "node" else self._directory.agents(), self._directory.census()
        return [msgspec.structs.replace(one, family_share=round(census.share(parse_id(one.family or one.agent_id)), 4)) for one in agents]

    def lineage(self, agent_id: str) -> list[DescentInfo]:
        return lineage_of(self._host.population, agent_id)

    def export_agent(self, agent_id: str) -> AgentFile:
        return export_agent(self._host.population, agent_id)

    async def import_agent(self, file: AgentFile) -> AgentInfo:
        agent = await import_agent(self._host, self._runtime, file)
        return agent_info(agent, self._now.credentials.node_id)


class CouncilView:
    """`CouncilService`: the council, with an event for each answer."""

    def __init__(self, council: Council, events: EventBus, metrics: Metrics) -> None:
        self._council = council
        self._events = events
        self._metrics = metrics

    async def ask(self, request: ConsensusRequest) -> ConsensusAnswer:
        answer = await self._council.ask(request)
        self._metrics.asked(answer)
        self._events.emit("consensus", {"id": answer.id, "status": answer.status, "reason": answer.reason, "votes": len(answer.votes)})
        return answer

    async def receipt_json(self, receipt_id: str) -> dict[str, Any]:
        return export_receipt(await self._council.receipt(receipt_id))

    async def recent(self, limit: int) -> list[QuestionSummary]:
        return await self._council.recent(limit)

    async def feedback(self, request: FeedbackRequest) -> FeedbackReply:
        return await self._council.feedback(request)


class MemoryView:
    """`MemoryService`: semantic memory, and this node's hidden canaries."""

    def __init__(self, memory: Memory, council: Council) -> None:
        self._memory = memory
        self._council = council

    async def add(self, request: MemoryRequest) -> MemoryAdded:
        if (request.text is None) == (request.embedding is None):
            raise InvalidRequest("Send either 'text' or 'embedding', exactly one of them.", param="text")
        if request.text is not None:
            value = msgspec.json.encode(request.value).decode()
            return MemoryAdded(await self._memory.add(request.text, value, fitness=request.fitness, ttl_s=request.ttl_s))
        if not isinstance(request.value, list) or not request.embedding or len(request.value) != len(request.embedding):
            raise InvalidRequest("The value of an embedding memory is a list of as many numbers as the embedding.", param="value")
        added = await self._memory.add_vector(request.embedding, request.value, fitness=request.fitness, ttl_s=request.ttl_s)
        return MemoryAdded(added)

    async def search(self, query: MemoryQuery) -> list[MemoryInfo]:
        return [
            MemoryInfo(
                one.id,
                show_id(NodeId(one.origin)),
                one.entry.text,
                one.entry.answer,
                one.likeness,
                one.fitness,
                one.quarantined,
                one.entry.at,
                show_id(one.entry.receipt) if one.entry.receipt else None,
            )
            for one in await self._memory.search(query.query, query.top_k)
        ]

    async def rate(self, rating: MemoryRating) -> None:
        await self._memory.rate(rating.text, rating.id, rating.score)

    async def purge(self, request: MemoryPurge) -> MemoryPurged:
        deleted = await self._memory.purge(NodeId(parse_id(request.node)))
        return MemoryPurged(deleted, True)

    async def embed(self, texts: list[str]) -> tuple[str, list[list[float]]]:
        return await self._memory.embed(texts)

    async def canaries(self, request: CanariesRequest) -> CanariesReply:
        added = [Canary(c.id, c.topic, c.question, c.choices, c.answer) for c in request.canaries]
        return CanariesReply(await self._council.examiner.add(added))


class DhtView:
    """`DhtService`: text keys and values over the DHT's bytes."""

    def __init__(self, dht: Dht) -> None:
        self._dht = dht

    async def put(self, key: str, request: DhtPut) -> DhtPutReply:
        value = request.value.encode()
        if len(value) > MAX_VALUE:
            raise InvalidRequest(
                f"A value of {len(value)} bytes is over the limit of {MAX_VALUE}: store a reference to it instead.", param="value"
            )
        result = await self._dht.put(key_of(key), request.subkey, value, request.ttl_s)
        return DhtPutReply(key, result.seq, result.replicas, result.expires_at)

    async def get(self, key: str) -> DhtValues:
        records = await self._dht.get(key_of(key))
        values = [
            DhtValue(
                show_id(node_id_of(record.author)), record.subkey, record.seq, record.value.decode(errors="replace"), record.expires_at
            )
            for record in records
        ]
        return DhtValues(key, values)


class ControlView:
    """`ControlService`: the process itself."""

    def __init__(
        self,
        broadcast: Broadcast,
        metrics: Metrics,
        ready: Callable[[], bool],
        stop: Callable[[], None],
        leave: Callable[[], Awaitable[Moved]],
    ) -> None:
        self._broadcast = broadcast
        self._metrics = metrics
        self._ready = ready
        self._stop = stop
        self._leave = leave

    def ready(self) -> bool:
        return self._ready()

    def metrics(self) -> bytes:
        return self._metrics.render()

    def stop(self) -> None:
        self._stop()

    async def leave(self) -> LeaveReply:
        moved = await self._leave()
        return LeaveReply(True, moved.moved, len(moved.stayed))

    async def broadcast(self, request: BroadcastRequest, /) -> None:
        await self._broadcast.publish("message", msgspec.json.encode(request), BROADCAST_TTL_S)
