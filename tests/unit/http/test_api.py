"""Every row of the table answers in its own shape."""

from __future__ import annotations

import msgspec
import pytest
from aiohttp import ClientSession
from msgspec import structs
from openapi_spec_validator import OpenAPIV31SpecValidator

from node.http.app import ROUTES
from protocol.api.agents import AgentInfo
from protocol.api.council import ConsensusAnswer, FeedbackReply, Missing, QuestionSummary
from protocol.api.memory import DhtValues
from protocol.api.nodes import NodeInfo, Peers
from protocol.api.runs import RunInfo, TaskInfo
from tests.unit.http.fakes import ADMIN, ANSWER, NODE, RECEIPT, FakeDaemon

AS_ADMIN = {"Authorization": f"Bearer {ADMIN}"}


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/node", NodeInfo),
        ("/v1/peers", Peers),
        ("/v1/agents", list[AgentInfo]),
        ("/v1/consensus?limit=5", list[QuestionSummary]),
        ("/v1/dht/greeting", DhtValues),
        ("/v1/runs", list[RunInfo]),
        ("/v1/runs/run1", RunInfo),
        ("/v1/tasks", list[TaskInfo]),
    ],
)
async def test_a_reading_route_gives_the_shape_that_the_cli_decodes(client: ClientSession, path: str, shape: type) -> None:
    async with client.get(path) as reply:
        assert reply.status == 200
        assert reply.content_type == "application/json"
        msgspec.json.decode(await reply.read(), type=shape)


async def test_agents_of_the_swarm_are_more_than_those_of_the_node(client: ClientSession) -> None:
    async with client.get("/v1/agents?scope=swarm") as reply:
        assert len(await reply.json()) == 2


async def test_a_question_comes_back_as_a_consensus(client: ClientSession, daemon: FakeDaemon) -> None:
    async with client.post("/v1/consensus", json={"question": "Is it good?", "choices": ["good", "bad"]}) as reply:
        answer = msgspec.json.decode(await reply.read(), type=ConsensusAnswer)
    assert (reply.status, answer.answer, answer.id) == (200, "good", RECEIPT)
    assert daemon.council.asked[0].choices == ["good", "bad"]


async def test_a_degraded_answer_is_marked_and_names_who_is_missing(client: ClientSession, daemon: FakeDaemon) -> None:
    daemon.council.answer = structs.replace(ANSWER, degraded=True, missing=[Missing(RECEIPT, NODE, "no answer within 2.0 s")])
    async with client.post("/v1/consensus", json={"question": "Is it good?"}) as reply:
        told = await reply.json()
    assert (reply.status, told["degraded"]) == (200, True)
    assert told["missing"] == [{"agent_id": RECEIPT, "node_id": NODE, "reason": "no answer within 2.0 s"}]


async def test_a_receipt_is_found_by_id(client: ClientSession) -> None:
    async with client.get(f"/v1/receipts/{RECEIPT}") as reply:
        assert (await reply.json())["id"] == RECEIPT


async def test_feedback_reaches_the_council(client: ClientSession, daemon: FakeDaemon) -> None:
    async with client.post("/v1/feedback", json={"id": RECEIPT, "score": 1, "correct": "good"}) as reply:
        assert msgspec.json.decode(await reply.read(), type=FeedbackReply).agents == 1
    assert daemon.council.rated[0].correct == "good"


async def test_a_dht_key_may_hold_any_character(client: ClientSession, daemon: FakeDaemon) -> None:
    async with client.put("/v1/dht/a%2Fb%20%C3%A9", json={"value": "v"}) as reply:
        assert reply.status == 200
    assert daemon.dht.held == {"a/b é": "v"}


async def test_tokens_are_made_listed_and_revoked_by_the_admin(client: ClientSession) -> None:
    async with client.post("/v1/tokens", json={"uses": 2}, headers=AS_ADMIN) as reply:
        assert (await reply.json())["token"] == "moot1-a-b-c"
    async with client.get("/v1/tokens", headers=AS_ADMIN) as reply:
        assert [token["id"] for token in await reply.json()] == ["abc"]
    async with client.delete("/v1/tokens/abc", headers=AS_ADMIN) as reply:
        assert reply.status == 204
    async with client.delete("/v1/tokens/abc", headers=AS_ADMIN) as reply:
        assert reply.status == 404


async def test_broadcast_run_stop_and_leave_reach_the_daemon(client: ClientSession, daemon: FakeDaemon) -> None:
    async with client.post("/v1/broadcast", json={"topic": "news", "body": "hello"}) as reply:
        assert reply.status == 204
    async with client.post("/v1/runs", json={"task": "steps", "params": {"grid": 3}}) as reply:
        assert (await reply.json())["run_id"] == "run1"
    async with client.post("/v1/stop", headers=AS_ADMIN) as reply:
        assert await reply.json() == {"stopping": True}
    async with client.post("/v1/leave", headers=AS_ADMIN) as reply:
        assert await reply.json() == {"leaving": True, "moved": 0, "stayed": 0}
    assert (len(daemon.control.said), daemon.control.stopped, daemon.control.left) == (1, True, True)


async def test_readiness_is_503_until_the_node_can_take_part(client: ClientSession, daemon: FakeDaemon) -> None:
    daemon.control.is_ready = False
    async with client.get("/readyz") as reply:
        assert (reply.status, await reply.json()) == (503, {"status": "starting"})
    async with client.get("/healthz") as reply:
        assert reply.status == 200
    daemon.control.is_ready = True
    async with client.get("/readyz") as reply:
        assert reply.status == 200


async def test_metrics_are_prometheus_text(client: ClientSession) -> None:
    async with client.get("/metrics") as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "moot_agents 1.0" in await reply.text()


async def test_the_front_page_names_every_route(client: ClientSession) -> None:
    async with client.get("/") as reply:
        page = await reply.text()
    assert all(route.path in page for route in ROUTES)


async def test_the_description_is_valid_and_complete(client: ClientSession) -> None:
    async with client.get("/openapi.json") as reply:
        document = await reply.json()
    OpenAPIV31SpecValidator(document).validate()
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}
    operations = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(operations)) == len(operations)


async def test_head_and_options_say_what_a_path_takes(client: ClientSession) -> None:
    async with client.head("/v1/node") as reply:
        assert (reply.status, await reply.read()) == (200, b"")
    async with client.options("/v1/consensus") as reply:
        assert (reply.status, reply.headers["Allow"]) == (204, "GET, POST, OPTIONS")
        assert "Access-Control-Allow-Origin" not in reply.headers
