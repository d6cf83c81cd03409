"""A request as people write it, checked: what the convener works with."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from protocol.api.council import MAX_CHOICES, MAX_EMBEDDING, MAX_QUESTION, ConsensusRequest
from protocol.ballots import MAX_COMPONENT, MAX_TEMPERATURE
from protocol.errors import InvalidRequest
from protocol.receipts import DEFAULT_PANEL

MAX_PANEL = 64
DEFAULT_DEADLINE_S = 30.0
MAX_DEADLINE_S = 600.0
MAX_CHOICE = 512
MAX_SYSTEM = 8_192


@dataclass(frozen=True, slots=True)
class Asking:
    """A valid request with its defaults filled in."""

    kind: str
    text: str
    choices: tuple[str, ...]
    embedding: tuple[float, ...]
    system: str
    brain: str | None
    agents: int | None
    quorum: int | None
    deadline_s: float
    temperature: float | None = None

    @property
    def size(self) -> int:
        """Seats on the panel, if there are agents for them."""
        return self.agents if self.agents is not None else DEFAULT_PANEL


def check_request(request: ConsensusRequest) -> Asking:
    """Raises `InvalidRequest` with the field in `param`."""
    if (request.question is None) == (request.embedding is None):
        raise _wrong("Send either 'question' or 'embedding', exactly one of them.", "question")
    text = _text(request.question)
    embedding = _embedding(request.embedding)
    choices = _choices(request.choices)
    kind = _kind(request)
    _panel(request.agents, request.quorum)
    _temperature(request.temperature, kind)
    if len(request.system or "") > MAX_SYSTEM:
        raise _wrong(f"The system prompt is longer than {MAX_SYSTEM} characters: shorten it.", "system")
    if _control(request.system or ""):
        raise _wrong("The system prompt holds a control character: remove it.", "system")
    deadline = DEFAULT_DEADLINE_S if request.deadline_s is None else request.deadline_s
    if not 0.0 < deadline <= MAX_DEADLINE_S:
        raise _wrong(f"'deadline_s' is {deadline:g}: give more than 0 and at most {MAX_DEADLINE_S:g} seconds.", "deadline_s")
    return Asking(
        kind,
        text,
        choices,
        embedding,
        request.system or "",
        request.brain,
        request.agents,
        request.quorum,
        float(deadline),
        request.temperature,
    )


def _text(question: str | None) -> str:
    if question is None:
        return ""
    if not question.strip():
        raise _wrong("The question is empty: write one.", "question")
    if len(question) > MAX_QUESTION:
        raise _wrong(f"The question has {len(question)} characters: shorten it to {MAX_QUESTION}.", "question")
    if _control(question):
        raise _wrong("The question holds a control character: remove it.", "question")
    return question


def _control(text: str) -> bool:
    """Characters that nobody types: C0 and C1 controls but tab and line ends, and lone surrogates."""
    return any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in text)


def _embedding(embedding: list[float] | None) -> tuple[float, ...]:
    if embedding is None:
        return ()
    if not 1 <= len(embedding) <= MAX_EMBEDDING:
        raise _wrong(f"The embedding has {len(embedding)} components: send 1 to {MAX_EMBEDDING}.", "embedding")
    for index, component in enumerate(embedding):
        if not abs(component) <= MAX_COMPONENT:
            raise _wrong(f"Component {index} of the embedding is {component}: send finite numbers up to {MAX_COMPONENT:g}.", "embedding")
    return tuple(float(component) for component in embedding)


def _choices(choices: list[str] | None) -> tuple[str, ...]:
    if choices is None:
        return ()
    if not 2 <= len(choices) <= MAX_CHOICES:
        raise _wrong(f"There are {len(choices)} choices: give 2 to {MAX_CHOICES}, or leave 'choices' out.", "choices")
    if any(not choice.strip() for choice in choices):
        raise _wrong("A choice is blank: give each a text.", "choices")
    if any(len(choice) > MAX_CHOICE for choice in choices):
        raise _wrong(f"A choice is longer than {MAX_CHOICE} characters: shorten it.", "choices")
    if len({choice.strip() for choice in choices}) != len(choices):
        raise _wrong("Two choices are the same: give each once.", "choices")
    if len({unicodedata.normalize("NFC", choice.strip()) for choice in choices}) != len(choices):
        raise _wrong("Two choices look the same, one with combining accents: agents could not tell them apart, so reword one.", "choices")
    if len({unicodedata.normalize("NFC", choice.strip()).casefold() for choice in choices}) != len(choices):
        raise _wrong("Two choices differ only in case: agents could not tell them apart, so reword one.", "choices")
    if any(_control(choice) for choice in choices):
        raise _wrong("A choice holds a control character: remove it.", "choices")
    return tuple(choices)


def _kind(request: ConsensusRequest) -> str:
    """As given where it fits the rest of the request, else what the rest implies."""
    implied = "choice" if request.choices is not None else "embedding" if request.embedding is not None else "text"
    kind = request.kind or (implied if implied != "text" else kind_of(request.question or ""))
    if request.combine == "memories" and implied != "embedding":
        raise _wrong(
            "'combine' is 'memories' but there is no embedding, or there are choices: memories are combined only for a plain embedding.",
            "combine",
        )
    if implied != "text" and kind != implied:
        content = "an embedding" if implied == "embedding" else "choices"
        raise _wrong(f"'kind' is '{kind}' but the request has {content}: leave 'kind' out or make it '{implied}'.", "kind")
    if implied == "text" and kind == "choice":
        raise _wrong("'kind' is 'choice' but there are no choices: add 'choices'.", "choices")
    if implied == "text" and kind == "embedding":
        raise _wrong("'kind' is 'embedding' but there is a question and no embedding: send 'embedding' in its place.", "kind")
    return kind


_YES_NO = re.compile(
    r"(?:is|are|was|were|am|do|does|did|can|could|will|would|shall|should|may|might|must|has|have|had)(?:n['’]t)?\b", re.IGNORECASE
)
_NUMBER = re.compile(
    r"how (?:many|much|old|tall|long|far|heavy|big|deep|high|fast|wide)\b"
    r"|what (?:is|was) the (?:number|count|sum|product|difference|total)\b",
    re.IGNORECASE,
)
_ALTERNATIVES = re.compile(r"\bor\b(?! not\b)", re.IGNORECASE)


def kind_of(question: str) -> str:
    """What kind of answer an English question asks for: number, boolean, else text. Read from its last sentence; shown in the answer."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", question.strip()[-1_000:]) if part.strip()]
    last = sentences[-1] if sentences else ""
    if not last.endswith("?"):
        return "text"
    if _NUMBER.match(last):
        return "number"
    return "boolean" if _YES_NO.match(last) and not _ALTERNATIVES.search(last) else "text"


def _temperature(temperature: float | None, kind: str) -> None:
    if temperature is None:
        return
    if not 0.0 <= temperature <= MAX_TEMPERATURE:
        raise _wrong(f"'temperature' is {temperature:g}: give 0 to {MAX_TEMPERATURE:g}.", "temperature")
    if kind != "text":
        raise _wrong(
            f"'temperature' is for text, and this is a {kind} question, which samples nothing: leave 'temperature' out.", "temperature"
        )


def _panel(agents: int | None, quorum: int | None) -> None:
    for name, value in (("agents", agents), ("quorum", quorum)):
        if value is not None and not 1 <= value <= MAX_PANEL:
            raise _wrong(f"'{name}' is {value}: give 1 to {MAX_PANEL}.", name)
    if quorum is not None and quorum > (agents if agents is not None else DEFAULT_PANEL):
        raise _wrong(f"'quorum' is {quorum}, more than the panel has seats: lower it or raise 'agents'.", "quorum")


def _wrong(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
