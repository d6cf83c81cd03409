"""Whatever is wrong with a request leaves as one error object with the right status, and names what to fix."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, ClientSession

from node.http.services import Limits
from protocol.api.faults import MAX_BODY, ErrorBody, ErrorReply
from protocol.errors import LocalError, Malformed, Unreachable
from tests.unit.http.conftest import Serve
from tests.unit.http.fakes import PROJECT, FakeDaemon, FakeLabelling

JSON = {"Content-Type": "application/json"}


async def error_of(reply: ClientResponse) -> ErrorBody:
    assert reply.content_type == "application/json"
    return msgspec.json.decode(await reply.read(), type=ErrorReply).error


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"not json", "invalid_json", None),
        (b'{"question": "\xff"}', "invalid_json", None),
        (b'{"embedding": [NaN]}', "invalid_json", None),
        (b"[" * 100_000, "invalid_value", None),
        (b"[]", "invalid_value", None),
        (b"{}", "invalid_value", "question"),
        (b'{"question": "a", "tempo": 1}', "unknown_field", "tempo"),
        (b'{"question": "a", "temperature": 2.01}', "invalid_value", "temperature"),
        (b'{"question": "a", "temperature": -0.1}', "invalid_value", "temperature"),
        (b'{"question": "a", "temperature": 1, "choices": ["x", "y"]}', "invalid_value", "temperature"),
        (b'{"question": 3}', "invalid_value", "question"),
        (b'{"question": ""}', "invalid_value", "question"),
        (b'{"question": "  "}', "invalid_value", "question"),
        (b'{"question": "a", "embedding": [1]}', "invalid_value", "question"),
        (b'{"question": "a", "choices": ["one"]}', "invalid_value", "choices"),
        (b'{"question": "a", "choices": []}', "invalid_value", "choices"),
        (b'{"question": "a", "choices": ["x", ""]}', "invalid_value", "choices"),
        (b'{"question": "a", "choices": ["x", "x"]}', "invalid_value", "choices"),
        (b'{"question": "a", "choices": ["x", 1]}', "invalid_value", "choices[1]"),
        (b'{"question": "a", "choices": ["yes", "Yes"]}', "invalid_value", "choices"),
        (b'{"question": "a", "choices": [%s]}' % b", ".join(b'"%d"' % number for number in range(1_000)), "invalid_value", "choices"),
        (b'{"question": "%s"}' % (b"x" * 1_000_000), "invalid_value", "question"),
        (b'{"question": "a\\u0000b"}', "invalid_value", "question"),
        (b'{"question": "a\\ud800b"}', "invalid_json", None),
        (b'{"question": "a", "embedding": [1], "choices": ["x", "y"]}', "invalid_value", "question"),
        (b'{"question": "a", "kind": "choice"}', "invalid_value", "choices"),
        (b'{"question": "a", "kind": "poem"}', "invalid_value", "kind"),
        (b'{"question": "a", "kind": "number", "choices": ["x", "y"]}', "invalid_value", "kind"),
        (b'{"question": "a", "deadline_s": 0}', "invalid_value", "deadline_s"),
        (b'{"question": "a", "deadline_s": -1}', "invalid_value", "deadline_s"),
        (b'{"question": "a", "deadline_s": 1e6}', "invalid_value", "deadline_s"),
        (b'{"question": "a", "agents": 0}', "invalid_value", "agents"),
        (b'{"question": "a", "agents": 2, "quorum": 3}', "invalid_value", "quorum"),
        (b'{"embedding": []}', "invalid_value", "embedding"),
        (b'{"embedding": [1e999]}', "invalid_value", "embedding[0]"),
        (b'{"embedding": [null]}', "invalid_value", "embedding[0]"),
    ],
)
async def test_a_bad_question_is_refused_naming_the_field(
    client: ClientSession, daemon: FakeDaemon, raw: bytes, code: str, param: str | None
) -> None:
    async with client.post("/v1/consensus", data=raw, headers=JSON) as reply:
        error = await error_of(reply)
    assert (reply.status, error.code, error.param) == (400, code, param), error.message
    assert error.message.endswith(".")
    assert daemon.council.asked == []


@pytest.mark.parametrize(
    ("field", "value"), [("choices", ["a", "b"]), ("kind", "text"), ("agents", 3), ("system", "Be brief."), ("brain", "tiny")]
)
async def test_a_project_and_what_only_a_panel_knows_contradict_each_other(
    serve: Serve, daemon: FakeDaemon, field: str, value: object
) -> None:
    daemon.labelling = FakeLabelling()
    client = await serve()
    async with client.post("/v1/consensus", json={"question": "a", "project": PROJECT, field: value}) as reply:
        assert (reply.status, (await error_of(reply)).param) == (400, field)


async def test_a_body_over_one_megabyte_is_413_and_the_next_request_works(client: ClientSession) -> None:
    async with client.post("/v1/consensus", data=io.BytesIO(b" " * (MAX_BODY + 1)), headers=JSON) as reply:
        assert (reply.status, (await error_of(reply)).code) == (413, "body_too_large")
    async with client.get("/v1/node") as reply:
        assert reply.status == 200


async def test_a_chunked_body_over_one_megabyte_is_413(client: ClientSession) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 65_536

    async with client.post("/v1/consensus", data=pieces(), headers=JSON) as reply:
        assert (reply.status, (await error_of(reply)).code) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_body_that_is_not_declared_json_is_415(client: ClientSession, kind: str) -> None:
    async with client.post("/v1/consensus", data=b'{"question": "a"}', headers={"Content-Type": kind}) as reply:
        assert (reply.status, (await error_of(reply)).code) == (415, "unsupported_media_type")


async def test_an_unknown_route_is_404_in_the_error_shape(client: ClientSession) -> None:
    async with client.get("/v1/oracle") as reply:
        assert (reply.status, (await error_of(reply)).code) == (404, "route_not_found")


async def test_a_wrong_method_is_405_and_says_which_are_right(client: ClientSession) -> None:
    async with client.delete("/v1/node") as reply:
        assert (reply.status, (await error_of(reply)).code) == (405, "method_not_allowed")
        assert "GET" in reply.headers["Allow"]


@pytest.mark.parametrize("query", ["scope=galaxy", "depth=1"])
async def test_a_bad_query_is_400(client: ClientSession, query: str) -> None:
    async with client.get(f"/v1/agents?{query}") as reply:
        assert reply.status == 400
        assert (await error_of(reply)).param == query.partition("=")[0]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/feedback", {"id": "nonsense", "score": 1}, 400),
        ("/v1/feedback", {"id": "a" * 32, "score": 2}, 400),
        ("/v1/runs", {"task": "steps", "params": {"grid": [3]}}, 400),
        ("/v1/broadcast", {"topic": "", "body": ""}, 400),
    ],
)
async def test_other_bodies_are_checked_too(client: ClientSession, path: str, body: dict[str, object], status: int) -> None:
    async with client.post(path, json=body) as reply:
        assert reply.status == status
        await error_of(reply)


async def test_ids_and_keys_in_paths_are_checked(client: ClientSession) -> None:
    async with client.get("/v1/receipts/nonsense") as reply:
        assert reply.status == 400
    async with client.get(f"/v1/receipts/{'a' * 32}") as reply:
        assert reply.status == 404
    async with client.get(f"/v1/dht/{'k' * 300}") as reply:
        assert reply.status == 400
    async with client.get("/v1/runs/none") as reply:
        assert reply.status == 404


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Unreachable("no answer from 127.0.0.1:1"), 503, "peer_unreachable"),
        (Malformed("nonsense"), 502, "peer_failed"),
        (TimeoutError(), 504, "timeout"),
        (LocalError("a secret detail"), 500, "internal"),
        (ConnectionResetError("a secret detail"), 500, "internal"),
        (KeyError("a secret detail"), 500, "internal"),
    ],
)
async def test_what_fails_inside_costs_its_request_only_and_tells_no_secrets(
    client: ClientSession, daemon: FakeDaemon, failure: Exception, status: int, code: str
) -> None:
    async def fail() -> None:
        raise failure

    daemon.council.thinking = fail
    async with client.post("/v1/consensus", json={"question": "a"}) as reply:
        error = await error_of(reply)
    assert (reply.status, error.code) == (status, code)
    assert "secret" not in error.message
    daemon.council.thinking = None
    async with client.post("/v1/consensus", json={"question": "a"}) as reply:
        assert reply.status == 200


async def test_too_many_questions_at_once_are_429_with_retry_after(serve: Serve, daemon: FakeDaemon) -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def think() -> None:
        started.set()
        await may_end.wait()

    daemon.council.thinking = think
    client = await serve(None, Limits(questions=1))
    first = asyncio.create_task(client.post("/v1/consensus", json={"question": "a"}).__aenter__())
    await started.wait()
    async with client.post("/v1/consensus", json={"question": "b"}) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (429, "1")
        assert (await error_of(reply)).type == "rate_limit_error"
    may_end.set()
    assert (await first).status == 200
    async with client.post("/v1/consensus", json={"question": "c"}) as reply:
        assert reply.status == 200


async def test_a_client_that_hangs_up_cancels_its_question(client: ClientSession, daemon: FakeDaemon) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def think() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    daemon.council.thinking = think
    question = asyncio.create_task(client.post("/v1/consensus", json={"question": "a"}).__aenter__())
    await started.wait()
    question.cancel()
    async with asyncio.timeout(30):
        await cancelled.wait()
