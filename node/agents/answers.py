"""A question as the brain is asked it, and what the brain says as a vote."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node.agents.agent import Agent
from node.agents.worker import BrainWorker
from node.brains.base import Ask, Brain, Choice, Example, Proposal
from protocol.ballots import MAX_NUMBER, NO_NONCE, Question, Vote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BOOLEAN: Final = ("no", "yes")
TEXT_TOKENS: Final = 256
NUMBER_TOKENS: Final = 16
TEMPERATURE: Final = 0.7
MAX_TEXT: Final = 16_384
_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")


def kinds_of(brain: Brain) -> list[str]:
    """The kinds of question that agents of this brain answer. Free text only where it is fit for people."""
    return sorted(brain.capabilities.kinds - (frozenset() if brain.capabilities.instruct else {"text"}))


def why_not(brain: Brain, question: Question) -> str | None:
    """Why this brain cannot answer, or None."""
    if question.kind not in kinds_of(brain):
        if question.kind == "text" and "text" in brain.capabilities.kinds:
            return f"{brain.name} is a base model, not tuned to write for people: use an instruction-tuned one (--model)"
        return f"{brain.name} does not answer {question.kind} questions"
    if question.kind == "choice" and question.embedding and not brain.capabilities.any_embedding:
        return f"{brain.name} does not choose by an embedding"
    dim = brain.capabilities.embedding_dim
    if question.kind == "embedding" and dim is not None and dim != len(question.embedding):
        return f"{brain.name} answers embeddings of dimension {dim}, not {len(question.embedding)}"
    return None


def choices_of(question: Question) -> tuple[str, ...]:
    return BOOLEAN if question.kind == "boolean" else tuple(question.choices)


def ask_of(question: Question, agent: Agent, examples: Sequence[Example]) -> Ask:
    """The question as put to one agent."""
    return Ask(
        agent.genome,
        question.text,
        choices_of(question),
        tuple(question.embedding),
        question.system,
        tuple(examples),
        question.temperature if question.kind == "text" else None,
    )


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a brain said to one ask, in the field of the question's kind; nothing at all where it had no opinion."""

    choice: Choice | None = None
    number: float | None = None
    text: str = ""
    vector: NDArray[np.float32] | None = None


async def opinions(worker: BrainWorker, question: Question, asks: Sequence[Ask]) -> list[Opinion]:
    """One opinion an ask, in order. Raises `UserError`."""
    brain = worker.brain
    if question.kind in ("choice", "boolean"):
        return [Opinion(choice=choice) for choice in await worker.submit("choose", brain.choose, asks)]
    if question.kind == "embedding":
        return [Opinion(vector=vector) for vector in await worker.submit("transform", brain.transform, asks)]
    tokens, temperature = (NUMBER_TOKENS, 0.0) if question.kind == "number" else (TEXT_TOKENS, TEMPERATURE)

    def propose(batch: list[Ask]) -> list[Proposal]:
        return brain.propose(batch, max_tokens=tokens, temperature=temperature)

    texts = [proposal.text.strip()[:MAX_TEXT] for proposal in await worker.submit(question.kind, propose, asks)]
    if question.kind == "number":
        return [Opinion(number=number_in(text)) for text in texts]
    return [Opinion(text=text) for text in texts]


def number_in(text: str) -> float | None:
    """The first number a text states, or None."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    value = float(found.group().replace(",", ""))
    return value if math.isfinite(value) and abs(value) <= MAX_NUMBER else None


def vote_of(agent: Agent, brain: Brain, opinion: Opinion, logprobs: Sequence[float], ms: float) -> Vote:
    """A vote with an empty nonce; the council fills that in when it commits."""
    return Vote(
        agent.agent_id,
        brain.name[:64],
        brain.family[:64],
        brain.fingerprint[:64],
        list(logprobs),
        opinion.number,
        opinion.text,
        [] if opinion.vector is None else [float(value) for value in opinion.vector],
        ms,
        NO_NONCE,
    )
