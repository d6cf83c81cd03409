"""From a tally to an outcome: is it enough to answer, or does the council abstain, and what does it say to people.

    NOT_CAPABLE     no agent can answer this kind of question (only ever with an empty panel)
    NO_QUORUM       fewer votes with an opinion than the quorum; also when nobody is there
    SPLIT           the two leading answers are tied
    LOW_CONFIDENCE  the calibrated confidence is near what guessing would give

In that order; the first that holds is the reason. An abstention still says where the votes leaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from protocol.aggregate import Answer, Tally, aggregate
from protocol.api.council import AbstainReason
from protocol.ballots import Question, Vote
from protocol.calibration import Calibration, confidence

LOW_CONFIDENCE = 0.1
"""Abstain below this share of the way from chance to certainty: 0.55 for two choices, 0.325 for four."""

GRADABLE = ("choice", "boolean")
"""Kinds whose confidence can be calibrated."""

NOT_CAPABLE = {
    "text": "No agent here can write text for people: start one on an instruction-tuned model with `moot up --model PATH` "
    "(a Gemma `-it` .gguf) or `moot up --brain remote:URL#MODEL`, or give the question choices.",
    "number": "No agent here can answer with a number: start one on an instruction-tuned model with `moot up --model PATH` "
    "(a Gemma `-it` .gguf) or `moot up --brain remote:URL#MODEL`, or give the question choices.",
    "embedding": "No agent here answers embeddings: start one with `moot up --brain tiny`.",
    "choice": "No agent here can choose between choices: start one with `moot up --brain gemma` or `moot up --brain tiny`.",
    "boolean": "No agent here can answer yes or no: start one with `moot up --brain gemma` or `moot up --brain tiny`.",
}
NOBODY = "No agent is running in this swarm: start one with `moot up --brain gemma` or `moot up --brain tiny`."


class Outcome(Struct, frozen=True, array_like=True):
    """What the council says. `leading` stands also when it abstains; it is the answer only when `status` is `answered`."""

    status: Literal["answered", "abstained"]
    reason: AbstainReason | None
    leading: Answer
    top: float | None
    agreement: float | None
    confidence: float | None


def conclude(
    question: Question, votes: Sequence[Vote], weights: Sequence[float], quorum: int, calibration: Calibration, *, capable: bool
) -> tuple[Tally, Outcome]:
    """Aggregate valid votes and decide. Deterministic: a verifier gets the same outcome to the bit."""
    tally = aggregate(question, votes, weights)
    sure = confidence(calibration.steps, tally.top) if tally.top is not None else None
    reason: AbstainReason | None = None
    if not capable:
        reason = "NOT_CAPABLE"
    elif tally.counted < quorum:
        reason, sure = "NO_QUORUM", None
    elif tally.rival is not None:
        reason, sure = "SPLIT", None
    elif sure is not None and sure < floor(question):
        reason = "LOW_CONFIDENCE"
    status: Literal["answered", "abstained"] = "answered" if reason is None else "abstained"
    return tally, Outcome(status, reason, tally.leading, tally.top, tally.agreement, sure)


def floor(question: Question) -> float:
    """The least confidence that makes an answer."""
    chance = 1.0 / max(2, len(question.choices))
    return chance + LOW_CONFIDENCE * (1.0 - chance)


def explain(question: Question, tally: Tally, outcome: Outcome, panel: int, quorum: int) -> str:
    """One sentence on why the council abstains or how the answer came about; empty when there is nothing to say."""
    if outcome.reason == "NOT_CAPABLE":
        return NOT_CAPABLE[question.kind]
    if outcome.reason == "NO_QUORUM" and panel == 0:
        return NOBODY
    if outcome.reason == "NO_QUORUM":
        return f"{tally.counted} of {panel} agents gave an opinion and the quorum is {quorum}: ask again, or with a smaller quorum."
    if outcome.reason == "SPLIT":
        return f"The two leading answers are tied: {show(tally.leading)} and {show(tally.rival)}."
    if outcome.reason == "LOW_CONFIDENCE":
        return (
            f"The votes lean to {show(tally.leading)}, but with confidence {outcome.confidence:.2f}, "
            f"below the {floor(question):.2f} that an answer needs."
        )
    return tally.note


def show(answer: Answer) -> str:
    """An answer as people read it in a sentence."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if isinstance(answer, str):
        return f"'{answer}'" if len(answer) <= 80 else f"'{answer[:77]}...'"
    if isinstance(answer, list):
        return f"a vector of {len(answer)} components"
    return "nothing" if answer is None else f"{answer:g}"
