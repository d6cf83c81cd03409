"""OpenAI's surface: `/v1/models` and `/v1/chat/completions`, so that any client of that API can ask the swarm.

The last user message is the question, system messages become its system text; earlier turns are not read, because every agent answers
one question alone. `choices` (moot's own) makes it a choice. An abstention is a sentence as content. `temperature` and the token limits
are accepted because clients always send them, and change nothing: a council samples by its own rules.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import web

from node.http.handlers.council import ask
from node.http.routes import Call
from node.http.services import Services
from node.http.sse import event_stream
from protocol.api import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatExtra,
    ChatReply,
    ChatRequest,
    ChatUsage,
    ConsensusAnswer,
    ConsensusRequest,
    ModelInfo,
    ModelList,
)
from protocol.errors import InvalidRequest, NotFound

SWARM_MODEL = "moot"
BYTES_PER_TOKEN = 4


async def models(call: Call[None]) -> ModelList:
    """`moot` is everybody; `moot:<brain>` asks only the agents of one brain."""
    return ModelList("list", [_model(call.services, name) for name in _names(call.services)])


async def model(call: Call[None]) -> ModelInfo:
    """One model by its name."""
    _known(call.services, call.path("model"))
    return _model(call.services, call.path("model"))


async def chat(call: Call[ChatRequest]) -> ChatCompletion | web.StreamResponse:
    """Ask the council and answer in the shape of a chat completion, whole or streamed."""
    request = call.body
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("'stream_options' is for streams: set 'stream' to true.", code="invalid_value", param="stream_options")
    answer = await ask(call, _question(call.services, request))
    completion = _completion(call.services, request, answer)
    return await _stream(call, completion) if request.stream else completion


def content_of(answer: ConsensusAnswer) -> str:
    """The answer as a person would say it; an abstention as a sentence."""
    if answer.status == "abstained":
        return f"The council abstained ({answer.reason}). {answer.detail}".strip()
    if isinstance(answer.answer, bool):
        return "yes" if answer.answer else "no"
    return f"{answer.answer:g}" if isinstance(answer.answer, float) else str(answer.answer)


def _names(services: Services) -> list[str]:
    brains = {agent.brain for agent in services.node.agents("swarm")}
    return [SWARM_MODEL, *(f"{SWARM_MODEL}:{brain}" for brain in sorted(brains))]


def _model(services: Services, name: str) -> ModelInfo:
    return ModelInfo(name, "model", int(services.runtime.now() - services.node.node_info().uptime_s), "moot")


def _known(services: Services, name: str) -> str | None:
    """The brain that a model name stands for; None for the whole swarm. Raises `NotFound` as OpenAI's client knows it."""
    names = _names(services)
    if name not in names:
        raise NotFound(f"There is no model '{name}': this swarm has {', '.join(names)}.", code="model_not_found", param="model")
    return name.partition(":")[2] or None


def _question(services: Services, request: ChatRequest) -> ConsensusRequest:
    brain = _known(services, request.model)
    asked = [message.content for message in request.messages if message.role == "user"]
    if not asked:
        raise InvalidRequest("There is no message of role 'user': the last one is the question.", code="invalid_value", param="messages")
    system = "\n".join(message.content for message in request.messages if message.role in ("system", "developer"))
    if not asked[-1].strip():
        raise InvalidRequest("The last user message is empty: it is the question.", code="invalid_value", param="messages")
    return ConsensusRequest(question=asked[-1], choices=request.choices, deadline_s=request.deadline_s, system=system or None, brain=brain)


def _completion(services: Services, request: ChatRequest, answer: ConsensusAnswer) -> ChatCompletion:
    content = content_of(answer)
    prompt, written = sum(_tokens(message.content) for message in request.messages), _tokens(content)
    return ChatCompletion(
        id=f"chatcmpl-{answer.id}",
        object="chat.completion",
        created=int(services.runtime.now()),
        model=request.model,
        choices=[ChatChoice(0, ChatReply("assistant", content), "stop")],
        usage=ChatUsage(prompt, written, prompt + written),
        moot=ChatExtra(answer.status, answer.reason, answer.confidence, answer.agreement, answer.id),
    )


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


async def _stream(call: Call[ChatRequest], whole: ChatCompletion) -> web.StreamResponse:
    """A council has its answer all at once, so a stream is one piece of content; errors came before it, with their own status."""
    with_usage = call.body.stream_options is not None and call.body.stream_options.include_usage
    chunks = [
        _chunk(whole, ChatDelta(role="assistant", content="")),
        _chunk(whole, ChatDelta(content=whole.choices[0].message.content)),
        msgspec.structs.replace(_chunk(whole, ChatDelta(), "stop"), moot=whole.moot),
    ]
    if with_usage:
        chunks = [msgspec.structs.replace(chunk, usage=None) for chunk in chunks]
        chunks.append(msgspec.structs.replace(chunks[0], choices=[], usage=whole.usage))
    async with event_stream(call.request) as (response, send):
        for chunk in chunks:
            await send(b"data: %s\n\n" % msgspec.json.encode(chunk))
        await send(b"data: [DONE]\n\n")
    return response


def _chunk(whole: ChatCompletion, delta: ChatDelta, finish: Literal["stop"] | None = None) -> ChatChunk:
    return ChatChunk(whole.id, "chat.completion.chunk", whole.created, whole.model, [ChatChunkChoice(0, delta, finish)])
