"""The official client of OpenAI's API against ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import openai
import pytest
from msgspec import structs
from openai.types.chat import ChatCompletionMessageParam

from node.http.access import Access
from tests.unit.http.conftest import Listen, Serve
from tests.unit.http.fakes import ABSTAINED, ADMIN, ANSWER, PROJECT, RECEIPT, FakeDaemon, FakeLabelling

QUESTION: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "Is it good?"}]


@pytest.fixture
async def client_of(listen: Listen) -> AsyncIterator[openai.AsyncOpenAI]:
    async with official((await listen()).url) as client:
        yield client


def official(url: str, key: str = "unused") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


async def test_models_are_the_swarm_and_each_of_its_brains(client_of: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client_of.models.list()]
    assert names == ["moot", "moot:gemma:270m", "moot:tiny"]
    assert (await client_of.models.retrieve("moot:tiny")).owned_by == "moot"


async def test_a_chat_is_a_question_with_its_choices(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    reply = await client_of.chat.completions.create(
        model="moot:tiny", messages=QUESTION, temperature=0, extra_body={"choices": ["good", "bad"], "deadline_s": 5}
    )
    assert reply.choices[0].message.content == "good"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    extra = (reply.model_extra or {})["moot"]
    assert {name: extra[name] for name in ("status", "confidence", "receipt")} == {
        "status": "answered",
        "confidence": 0.8,
        "receipt": RECEIPT,
    }
    assert extra["votes"][0]["answer"] == "good"
    asked = daemon.council.asked[0]
    assert (asked.question, asked.choices, asked.system, asked.brain) == ("Is it good?", ["good", "bad"], "Be strict.", "tiny")
    assert asked.deadline_s == 5


async def test_a_labelling_project_is_a_model_and_its_answer_has_no_receipt(listen: Listen, daemon: FakeDaemon) -> None:
    daemon.labelling = FakeLabelling()
    async with official((await listen()).url) as client:
        reply = await client.chat.completions.create(model=f"moot:{PROJECT}", messages=QUESTION, temperature=0.3)
    extra = (reply.model_extra or {})["moot"]
    assert reply.choices[0].message.content == "billing"
    assert (extra["project"], extra["receipt"]) == (PROJECT, "")
    assert [vote["agent_id"] for vote in extra["votes"]] == ["words", "near", "meaning"]


async def test_the_last_user_message_is_the_question(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    turns: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    await client_of.chat.completions.create(model="moot", messages=turns)
    assert (daemon.council.asked[0].question, daemon.council.asked[0].brain) == ("three", None)


async def test_an_abstention_is_a_sentence_with_usage(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    daemon.council.answer = ABSTAINED
    reply = await client_of.chat.completions.create(model="moot", messages=QUESTION)
    assert reply.choices[0].message.content == "The council abstained (SPLIT). The votes are split 2 to 2."
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0


async def test_a_degraded_answer_is_marked(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    daemon.council.answer = structs.replace(ANSWER, degraded=True)
    reply = await client_of.chat.completions.create(model="moot", messages=QUESTION)
    assert (reply.model_extra or {})["moot"]["degraded"] is True


async def test_a_stream_ends_with_usage_and_done(client_of: openai.AsyncOpenAI) -> None:
    stream = await client_of.chat.completions.create(model="moot", messages=QUESTION, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "good"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, "stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


async def test_a_stream_without_usage_has_none(client_of: openai.AsyncOpenAI) -> None:
    stream = await client_of.chat.completions.create(model="moot", messages=QUESTION, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in [chunk async for chunk in stream])


async def test_the_raw_stream_is_data_lines_and_done(serve: Serve) -> None:
    session = await serve()
    body = {"model": "moot", "messages": QUESTION, "stream": True}
    async with session.post("/v1/chat/completions", json=body) as reply:
        assert reply.content_type == "text/event-stream"
        lines = (await reply.text()).strip().split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("name", ["gpt-5", "moot:unknown", "moot:", ""])
async def test_an_unknown_model_is_not_found(client_of: openai.AsyncOpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client_of.chat.completions.create(model=name, messages=QUESTION)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("name", ["tools", "logprobs", "audio", "made_up"])
async def test_a_parameter_we_do_not_have_is_refused_by_name(client_of: openai.AsyncOpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of.chat.completions.create(model="moot", messages=QUESTION, extra_body={name: 1})
    assert (refused.value.param, name in str(refused.value)) == (name, True)


@pytest.mark.parametrize(
    "messages", [[], [{"role": "system", "content": "x"}], [{"role": "user", "content": " "}], [{"role": "wizard", "content": "x"}]]
)
async def test_a_chat_without_a_question_is_refused(client_of: openai.AsyncOpenAI, messages: list[ChatCompletionMessageParam]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of.chat.completions.create(model="moot", messages=messages)
    assert (refused.value.param or "").startswith("messages")


async def test_stream_options_without_a_stream_are_refused(client_of: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client_of.chat.completions.create(model="moot", messages=QUESTION, extra_body={"stream_options": {}})


async def test_a_key_matters_once_tokens_are_configured(listen: Listen) -> None:
    url = (await listen(Access(ADMIN, api_tokens=("one",)))).url
    async with official(url, "wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.models.list()
    assert refused.value.code == "invalid_api_key"
    async with official(url, "one") as client:
        assert (await client.models.list()).data


async def test_stop_and_max_tokens_cut_the_content(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    daemon.council.answer = ABSTAINED
    reply = await client_of.chat.completions.create(model="moot", messages=QUESTION, stop=[" abstained", "zzz"])
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("The council", "stop")
    reply = await client_of.chat.completions.create(model="moot", messages=QUESTION, max_tokens=2)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("The coun", "length")


async def test_a_temperature_reaches_the_council_for_text_only(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    write: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Write a line about rain."}]
    await client_of.chat.completions.create(model="moot", messages=write, temperature=0.3)
    await client_of.chat.completions.create(model="moot", messages=write)
    await client_of.chat.completions.create(model="moot", messages=QUESTION, temperature=0.3)
    await client_of.chat.completions.create(model="moot", messages=write, temperature=0.3, extra_body={"choices": ["wet", "dry"]})
    assert [asked.temperature for asked in daemon.council.asked] == [0.3, None, None, None]


@pytest.mark.parametrize(("name", "value"), [("temperature", -0.1), ("temperature", 2.1), ("top_p", 1.1), ("presence_penalty", 3)])
async def test_a_parameter_out_of_range_is_refused_by_name(client_of: openai.AsyncOpenAI, name: str, value: float) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of.chat.completions.create(model="moot", messages=QUESTION, extra_body={name: value})
    assert refused.value.param == name


async def test_n_asks_as_many_councils(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    reply = await client_of.chat.completions.create(model="moot", messages=QUESTION, n=3, seed=1, top_p=0.5)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len(daemon.council.asked) == 3


async def test_a_schema_with_an_enum_is_a_choice_and_its_answer_json(client_of: openai.AsyncOpenAI, daemon: FakeDaemon) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"verdict": {"enum": ["good", "bad"]}}}
    write: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Write."}]
    reply = await client_of.chat.completions.create(
        model="moot", messages=QUESTION, response_format={"type": "json_schema", "json_schema": {"name": "v", "schema": schema}}
    )
    assert daemon.council.asked[0].choices == ["good", "bad"]
    assert json.loads(reply.choices[0].message.content or "") == {"verdict": "good"}
    with pytest.raises(openai.BadRequestError):
        await client_of.chat.completions.create(model="moot", messages=write, response_format={"type": "json_object"})


async def test_embeddings_come_as_the_client_asks(client_of: openai.AsyncOpenAI) -> None:
    reply = await client_of.embeddings.create(model="moot", input=["one", "three"])
    assert [row.embedding for row in reply.data] == [[3.0, 0.5], [5.0, 0.5]]
    assert reply.model == "fake-1"
    one = await client_of.embeddings.create(model="moot", input="four", encoding_format="float")
    assert one.data[0].embedding == [4.0, 0.5]
