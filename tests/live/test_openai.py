"""The official client of OpenAI's API against real daemons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

pytestmark = pytest.mark.live


class Swarm(Protocol):
    """What this file needs of the `swarm` fixture: daemons, each with the URL of its API."""

    nodes: Sequence[Any]


CHOICES = {"choices": ["Ottawa", "Toronto"]}
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of Canada?"}]


@pytest.fixture
def client(swarm: Swarm) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{swarm.nodes[-1].api}/v1", api_key="unused", max_retries=0)


def test_models_name_the_swarm_and_its_brains(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "moot"
    assert "moot:tiny:mlp" in names


def test_a_chat_gets_a_choice_or_a_sentence_why_not(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="moot", messages=QUESTION, extra_body=CHOICES)
    stands_behind = (reply.model_extra or {})["moot"]
    content = reply.choices[0].message.content or ""
    assert content in CHOICES["choices"] if stands_behind["status"] == "answered" else "abstained" in content
    assert reply.usage is not None


def test_a_stream_ends_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="moot:tiny:mlp", messages=QUESTION, extra_body=CHOICES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    assert missing.value.code == "model_not_found"
