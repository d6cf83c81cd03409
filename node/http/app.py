"""The HTTP API: the route table, and the application made from it. Start reading here.

Every request passes, outermost first: `in_error_shape` (whatever goes wrong leaves as one error object), `guarded` (host name and
origin), then its row of the table (`routes.serve`: token, body, handler, JSON).
"""

from __future__ import annotations

import html
from collections import defaultdict
from typing import Any

from aiohttp import web

from node.http import events, openai, openapi
from node.http.access import Scope
from node.http.errors import Handler, in_error_shape
from node.http.handlers import control, council, dht, health, label, memory, node, runs, tokens
from node.http.routes import SERVICES, Call, Route, delete, get, patch, post, put, serve
from node.http.services import Services
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
from protocol.api.faults import MAX_BODY, Health
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
from protocol.api.nodes import BroadcastRequest, Event, LeaveReply, NodeInfo, Peers, StopReply, TokenInfo, TokenReply, TokenRequest
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
    TextsRequest,
)
from protocol.openai_api import ChatCompletion, ChatRequest, EmbeddingsReply, EmbeddingsRequest, ModelInfo, ModelList


async def description(call: Call[None]) -> dict[str, Any]:
    return openapi.describe(ROUTES, call.services.node.node_info().version)


async def index(call: Call[None]) -> web.StreamResponse:
    """A page for a person who opens the API in a browser."""
    rows = "".join(f"<tr><td>{route.method}<td><code>{html.escape(route.path)}</code><td>{html.escape(route.summary)}" for route in ROUTES)
    info = call.services.node.node_info()
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>moot</title><h1>moot {html.escape(info.version)}</h1>"
    page = f"{head}<p>Node {html.escape(info.name)}, {info.node_id}.</p><table>{rows}</table></html>"
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": "default-src 'none'"})


ROUTES: tuple[Route, ...] = (
    get("/healthz", health.healthz, "The process answers", gives=Health, scope=Scope.OPEN),
    get("/readyz", health.readyz, "200 once the node can take part, 503 before", gives=Health, scope=Scope.OPEN),
    get("/metrics", health.metrics, "Figures in Prometheus text format", gives=str, media="text/plain"),
    get("/openapi.json", description, "This description", gives=dict[str, Any], scope=Scope.OPEN),
    get("/", index, "These routes, for people", gives=str, media="text/html", scope=Scope.OPEN),
    get("/v1/node", node.node, "Who this node is and how it does", gives=NodeInfo),
    get("/v1/peers", node.peers, "Neighbours and all members known", gives=Peers),
    get("/v1/agents", node.agents, "Agents of this node or of the swarm", takes=node.AgentsQuery, gives=list[AgentInfo]),
    get("/v1/agents/{id}/lineage", node.lineage, "Descent of an agent of this node, newest first", gives=list[DescentInfo]),
    get("/v1/agents/{id}/export", node.export_agent, "An agent of this node as a file", gives=AgentFile),
    post("/v1/agents", node.import_agent, "A child of a filed agent is born here", takes=AgentFile, gives=AgentInfo, scope=Scope.ADMIN),
    post("/v1/consensus", council.consensus, "Ask the swarm", takes=ConsensusRequest, gives=ConsensusAnswer, timeout_s=None),
    get("/v1/consensus", council.recent, "This node's recent questions", takes=council.RecentQuery, gives=list[QuestionSummary]),
    post("/v1/feedback", council.feedback, "Say how good an answer was", takes=FeedbackRequest, gives=FeedbackReply),
    get("/v1/receipts/{id}", council.receipt, "The proof of an answer, for `moot verify`", gives=dict[str, Any]),
    post("/v1/memory", memory.add, "Keep an answer where like questions find it", takes=MemoryRequest, gives=MemoryAdded),
    get("/v1/memory", memory.search, "Memories nearest in meaning", takes=MemoryQuery, gives=list[MemoryInfo]),
    post("/v1/memory/rating", memory.rate, "Say how good a memory is", takes=MemoryRating, gives=MemoryAdded),
    post("/v1/memory/purge", memory.purge, "Forget a node's memories", takes=MemoryPurge, gives=MemoryPurged, scope=Scope.ADMIN),
    post("/v1/canaries", memory.canaries, "Add hidden canary questions", takes=CanariesRequest, gives=CanariesReply, scope=Scope.ADMIN),
    put("/v1/dht/{key}", dht.put, "Store a value, signed by this node", takes=DhtPut, gives=DhtPutReply),
    get("/v1/dht/{key}", dht.get, "Every writer's value of a key", gives=DhtValues),
    post("/v1/tokens", tokens.create, "Make a join token", takes=TokenRequest, gives=TokenReply, scope=Scope.ADMIN),
    get("/v1/tokens", tokens.listing, "Join tokens that are still good", gives=list[TokenInfo], scope=Scope.ADMIN),
    delete("/v1/tokens/{id}", tokens.revoke, "Revoke a join token", scope=Scope.ADMIN),
    post("/v1/runs", runs.start, "Start a long job", takes=RunRequest, gives=RunInfo),
    get("/v1/runs", runs.listing, "Long jobs of this node", gives=list[RunInfo]),
    get("/v1/runs/{id}", runs.one, "One long job", gives=RunInfo),
    post("/v1/runs/{id}/pause", runs.pause, "Let a long job wait", gives=RunInfo),
    post("/v1/runs/{id}/resume", runs.resume, "Let a long job go on", gives=RunInfo),
    post("/v1/runs/{id}/stop", runs.stop, "End a long job with what it has", gives=RunInfo),
    patch("/v1/runs/{id}/params", runs.edit, "Change live parameters", takes=RunEdit, gives=RunInfo),
    get("/v1/runs/{id}/artifacts", runs.artifacts, "Files that a long job has made", gives=list[ArtifactInfo]),
    get("/v1/runs/{id}/artifacts/{name}", runs.artifact, "One of them", gives=str, media="application/octet-stream"),
    get("/v1/tasks", runs.tasks, "What can be run, and its parameters", gives=list[TaskInfo]),
    post("/v1/labelling", label.start, "Begin or go on with a labelling project", takes=ProjectRequest, gives=ProjectInfo, timeout_s=120.0),
    get("/v1/labelling", label.listing, "Labelling projects of this node", gives=list[ProjectInfo]),
    get("/v1/labelling/{id}", label.one, "One labelling project", gives=ProjectInfo),
    post("/v1/labelling/{id}/rows", label.rows, "Send rows of the pile", takes=RowsRequest, gives=ProjectInfo),
    post("/v1/labelling/{id}/examples", label.examples, "Send labelled examples", takes=ExamplesRequest, gives=ProjectInfo),
    post("/v1/labelling/{id}/complete", label.complete, "All rows are sent: read them", gives=ProjectInfo),
    get("/v1/labelling/{id}/next", label.questions, "Rows that would teach", takes=label.NextQuery, gives=Questions, timeout_s=300.0),
    post("/v1/labelling/{id}/answer", label.answer, "Label, skip or undo a row", takes=AnswerRequest, gives=ProjectInfo, timeout_s=300.0),
    get("/v1/labelling/{id}/labels", label.labels, "Labels of rows", takes=label.RowsQuery, gives=RowLabels, timeout_s=300.0),
    post("/v1/labelling/{id}/judge", label.judge, "Label new texts", takes=TextsRequest, gives=list[RowLabel], timeout_s=300.0),
    post("/v1/labelling/{id}/guests", label.guests, "Pause brains that read its rows, or go on", takes=GuestsRequest, gives=ProjectInfo),
    post("/v1/labelling/{id}/distrust", label.distrust, "Take a node's corrections out", takes=DistrustRequest, gives=ProjectInfo),
    post("/v1/labelling/{id}/receipt", label.receipt, "Merkle root over all rows", gives=ReceiptInfo, timeout_s=600.0),
    post("/v1/broadcast", control.broadcast, "Tell every node; arrives as a `message` event", takes=BroadcastRequest, gives=type(None)),
    get("/v1/events", events.stream, "What happens, as WebSocket or SSE", gives=Event, media="text/event-stream", timeout_s=None),
    post("/v1/stop", control.stop, "Stop the daemon", gives=StopReply, scope=Scope.ADMIN),
    post("/v1/leave", control.leave, "Leave the swarm for good and stop", gives=LeaveReply, scope=Scope.ADMIN),
    get("/v1/models", openai.models, "OpenAI: models", gives=ModelList),
    get("/v1/models/{model}", openai.model, "OpenAI: one model", gives=ModelInfo),
    post("/v1/chat/completions", openai.chat, "OpenAI: ask as a chat", takes=ChatRequest, gives=ChatCompletion, timeout_s=None),
    post("/v1/embeddings", openai.embeddings, "OpenAI: vectors of texts", takes=EmbeddingsRequest, gives=EmbeddingsReply),
)


def build_app(services: Services) -> web.Application:
    """The application; `server.ApiServer` runs it."""
    app = web.Application(middlewares=[in_error_shape, guarded], client_max_size=MAX_BODY)
    app[SERVICES] = services
    app[council.SLOTS] = council.Slots(services.limits.questions)
    app[events.STREAMS] = set()
    app.on_shutdown.append(events.close_streams)
    methods: defaultdict[str, list[str]] = defaultdict(list)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, serve(route))
        methods[route.path].append(route.method)
        if route.method == "GET" and route.timeout_s is not None:
            app.router.add_route("HEAD", route.path, serve(route))
    for path, allowed in methods.items():
        app.router.add_route("OPTIONS", path, _options(sorted(allowed)))
    return app


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse foreign host names and foreign pages before anything else is looked at."""
    access = request.app[SERVICES].access
    called = request.get_extra_info("sockname")
    host = request.headers.get("Host")
    access.check_host(host, called[0] if called else None)
    access.check_origin(request.headers.get("Origin"), host or "")
    response = await handler(request)
    if not response.prepared:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _options(methods: list[str]) -> Handler:
    """What a path takes (RFC 9110, section 9.3.7). No CORS headers: other origins may not call."""
    allow = ", ".join([*methods, "OPTIONS"])

    async def options(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers={"Allow": allow})

    return options
