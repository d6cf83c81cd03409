"""OpenAI's surface: models, chat completions and embeddings, so that any client of that API can ask the swarm.

The last user message is the question, system messages become its system text; earlier turns are not read, because every agent answers
one question alone. `choices` (moot's own) or the `enum` of a JSON schema makes it a choice. An abstention is a sentence as content.

    model                 `moot` is everybody, `moot:<brain>` one brain's agents, `moot:<project>` the learners of a labelling project
    n, stop, max_tokens   as OpenAI means them: n councils; the content is cut at a stop sequence, or (`length`) after so many tokens
    response_format       for choice and yes/no questions `{"answer", "confidence"}`, or the schema's own property
    temperature           what text is sampled at; the other kinds sample nothing (`ChatRequest.temperature`)
    top_p, penalties, seed   accepted because clients always send them, and without effect

Tokens are counted as four bytes each: every brain has a tokenizer of its own.
"""

from __future__ import annotations

import base64
import struct
from typing import Literal

import msgspec
from aiohttp import web

from node.council.request import kind_of
from node.http.handlers.council import ask
from node.http.handlers.label import by_project
from node.http.routes import Call
from node.http.services import Services
from node.http.sse import event_stream
from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.errors import InvalidRequest, NotFound
from protocol.openai_api import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatExtra,
    ChatReply,
    ChatRequest,
    ChatUsage,
    EmbeddingInfo,
    EmbeddingsReply,
    EmbeddingsRequest,
    EmbeddingUsage,
    ModelInfo,
    ModelList,
    ResponseFormat,
)

SWARM_MODEL = "moot"
BYTES_PER_TOKEN = 4
MAX_TOKENS = 4_096


async def models(call: Call[None]) -> ModelList:
    """Everybody, each brain, each labelling project that this node knows."""
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
    question = _question(call.services, request)
    if request.stream and (request.n or 1) > 1:
        raise InvalidRequest("A stream carries one answer: leave 'n' out.", code="invalid_value", param="n")
    answers = [await _answer(call, question) for _ in range(request.n or 1)]  # one slot, one after the other
    completion = _completion(call.services, request, answers)
    return await _stream(call, completion) if request.stream else completion


async def _answer(call: Call[ChatRequest], question: ConsensusRequest) -> ConsensusAnswer:
    return await (by_project(call, question, question.project) if question.project is not None else ask(call, question))


async def embeddings(call: Call[EmbeddingsRequest]) -> EmbeddingsReply:
    """Vectors of the embedder that the swarm's memory uses, in the shape of OpenAI's."""
    request = call.body
    _known(call.services, request.model)
    texts = [request.input] if isinstance(request.input, str) else request.input
    name, vectors = await call.services.memory.embed(texts)
    tokens = sum(_tokens(text) for text in texts)
    data = [
        EmbeddingInfo("embedding", index, vector if request.encoding_format == "float" else _base64(vector))
        for index, vector in enumerate(vectors)
    ]
    return EmbeddingsReply("list", data, name, EmbeddingUsage(tokens, tokens))


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def content_of(answer: ConsensusAnswer) -> str:
    """The answer as a person would say it; an abstention as a sentence."""
    if answer.status == "abstained":
        return f"The council abstained ({answer.reason}). {answer.detail}".strip()
    if isinstance(answer.answer, bool):
        return "yes" if answer.answer else "no"
    return f"{answer.answer:g}" if isinstance(answer.answer, float) else str(answer.answer)


def _names(services: Services) -> list[str]:
    brains = {agent.brain for agent in services.node.agents("swarm")}
    return [SWARM_MODEL, *(f"{SWARM_MODEL}:{name}" for name in [*sorted(brains), *_projects(services)])]


def _projects(services: Services) -> list[str]:
    return services.labelling.known() if services.labelling is not None else []


def _model(services: Services, name: str) -> ModelInfo:
    return ModelInfo(name, "model", int(services.runtime.now() - services.node.node_info().uptime_s), "moot")


def _known(services: Services, name: str) -> str | None:
    """The brain or project that a model name stands for; None for the whole swarm. Raises `NotFound` as OpenAI's client knows it."""
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
    if brain in _projects(services):
        return ConsensusRequest(question=asked[-1], project=brain)
    choices = request.choices or (list(_enum(request.response_format)[1]) or None)
    if request.response_format is not None and request.response_format.type != "text" and choices is None and kind_of(asked[-1]) == "text":
        raise InvalidRequest(
            "JSON is for questions with choices, yes/no and numbers: add 'choices', or a schema with an 'enum'.",
            code="invalid_value",
            param="response_format",
        )
    return ConsensusRequest(
        question=asked[-1],
        choices=choices,
        deadline_s=request.deadline_s,
        system=system or None,
        brain=brain,
        remember=request.remember,
        temperature=request.temperature if choices is None and kind_of(asked[-1]) == "text" else None,
    )


def _enum(wanted: ResponseFormat | None) -> tuple[str, tuple[str, ...]]:
    """(name, choices) of the schema's first property with an `enum` of texts; nothing where there is none."""
    schema = wanted.json_schema.schema if wanted is not None and wanted.json_schema is not None else {}
    properties = schema.get("properties")
    for name, rule in properties.items() if isinstance(properties, dict) else ():
        options = rule.get("enum") if isinstance(rule, dict) else None
        if isinstance(options, list) and options and all(isinstance(option, str) for option in options):
            return str(name), tuple(options)
    return "answer", ()


def _content(request: ChatRequest, answer: ConsensusAnswer) -> tuple[str, Literal["stop", "length"]]:
    """What is said, in the form asked for, cut where asked; and why it ends."""
    wanted = request.response_format
    if wanted is not None and wanted.type != "text" and answer.status == "answered":
        name = _enum(wanted)[0]
        fields = {name: answer.answer} if wanted.type == "json_schema" else {name: answer.answer, "confidence": answer.confidence}
        return msgspec.json.encode(fields).decode(), "stop"  # JSON that is cut is no JSON
    content = content_of(answer)
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    content = content[: min([at for stop in stops if stop and (at := content.find(stop)) >= 0], default=len(content))]
    limit = BYTES_PER_TOKEN * (request.max_completion_tokens or request.max_tokens or MAX_TOKENS)
    if len(content.encode()) > limit:
        return content.encode()[:limit].decode(errors="ignore"), "length"
    return content, "stop"


def _completion(services: Services, request: ChatRequest, answers: list[ConsensusAnswer]) -> ChatCompletion:
    said = [_content(request, answer) for answer in answers]
    prompt = sum(_tokens(message.content) for message in request.messages)
    written, answer = sum(_tokens(content) for content, _ in said), answers[0]
    return ChatCompletion(
        id=f"chatcmpl-{answer.id}",
        object="chat.completion",
        created=int(services.runtime.now()),
        model=request.model,
        choices=[ChatChoice(index, ChatReply("assistant", content), why) for index, (content, why) in enumerate(said)],
        usage=ChatUsage(prompt, written, prompt + written),
        moot=ChatExtra(
            answer.status,
            answer.reason,
            answer.confidence,
            answer.agreement,
            "" if answer.project is not None else answer.id,
            degraded=answer.degraded,
            votes=answer.votes,
            project=answer.project,
        ),
    )


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


async def _stream(call: Call[ChatRequest], whole: ChatCompletion) -> web.StreamResponse:
    """A council has its answer all at once, so a stream is one piece of content; errors came before it, with their own status."""
    with_usage = call.body.stream_options is not None and call.body.stream_options.include_usage
    chunks = [
        _chunk(whole, ChatDelta(role="assistant", content="")),
        _chunk(whole, ChatDelta(content=whole.choices[0].message.content)),
        msgspec.structs.replace(_chunk(whole, ChatDelta(), whole.choices[0].finish_reason), moot=whole.moot),
    ]
    if with_usage:
        chunks = [msgspec.structs.replace(chunk, usage=None) for chunk in chunks]
        chunks.append(msgspec.structs.replace(chunks[0], choices=[], usage=whole.usage))
    async with event_stream(call.request) as (response, send):
        for chunk in chunks:
            await send(b"data: %s\n\n" % msgspec.json.encode(chunk))
        await send(b"data: [DONE]\n\n")
    return response


def _chunk(whole: ChatCompletion, delta: ChatDelta, finish: Literal["stop", "length"] | None = None) -> ChatChunk:
    return ChatChunk(whole.id, "chat.completion.chunk", whole.created, whole.model, [ChatChunkChoice(0, delta, finish)])
