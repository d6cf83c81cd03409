"""OpenAI's HTTP shapes, as far as moot speaks them; field `moot` carries what theirs has no place for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from protocol.api.council import MAX_QUESTION, AbstainReason, VoteInfo


class ModelInfo(Struct, frozen=True):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct, frozen=True):
    object: Literal["list"]
    data: list[ModelInfo]


class ChatMessage(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False


class JsonSchema(Struct, frozen=True):
    """OpenAI's wrapper of a JSON schema; of the schema only the choices are read: the `enum` of its first property that has one."""

    name: str = ""
    schema: dict[str, Any] = {}
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenAI's request; `choices`, `deadline_s` and `remember` are moot's own. Unknown fields are refused, as OpenAI does."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=256)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    choices: list[str] | None = None
    deadline_s: float | None = None
    remember: bool = False
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Text questions: every agent samples at it (0: the likeliest words) instead of at its own; it stands in the receipt's question.
    Choices and yes/no are answered by log-probabilities and numbers by the likeliest words, so it has no effect there."""
    max_tokens: Annotated[int, Meta(ge=1, le=4096)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1, le=4096)] | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    response_format: ResponseFormat | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Checked, and without effect, like the penalties and `seed`: agents sample from all words."""
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    user: str | UnsetType = UNSET


class EmbeddingsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenAI's request, texts only."""

    input: (
        Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION)]
        | Annotated[list[Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION)]], Meta(min_length=1, max_length=256)]
    )
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    user: str | UnsetType = UNSET


class EmbeddingInfo(Struct, frozen=True):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """Numbers, or base64 of little-endian float32."""


class EmbeddingUsage(Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Struct, frozen=True):
    object: Literal["list"]
    data: list[EmbeddingInfo]
    model: str
    """The embedder's name: vectors of two names cannot be compared."""
    usage: EmbeddingUsage


class ChatUsage(Struct, frozen=True):
    """Estimated: a token is counted for every four bytes of text, because every brain has a tokenizer of its own."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatExtra(Struct, frozen=True):
    """moot's own object beside OpenAI's fields: what stands behind the sentence."""

    status: Literal["answered", "abstained"]
    reason: AbstainReason | None
    confidence: float | None
    agreement: float | None
    receipt: str
    """Empty where a labelling project answered: no panel, no receipt."""
    degraded: bool = False
    votes: list[VoteInfo] = []
    project: str | None = None


class ChatReply(Struct, frozen=True):
    role: Literal["assistant"]
    content: str
    refusal: str | None = None


class ChatChoice(Struct, frozen=True):
    index: int
    message: ChatReply
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(Struct, frozen=True):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    moot: ChatExtra


class ChatDelta(Struct, frozen=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatChunkChoice(Struct, frozen=True):
    index: int
    delta: ChatDelta
    finish_reason: Literal["stop", "length"] | None = None


class ChatChunk(Struct, frozen=True):
    """One `data:` line of a streamed completion. `choices` is empty in the last chunk, the one that carries `usage`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: ChatUsage | UnsetType | None = UNSET
    moot: ChatExtra | UnsetType = UNSET
