"""How likely each choice is, from the likeliest tokens at each place of one reply (`logprobs` of the OpenAI API).

The reply is one way through the tokens. At each place the likeliest others are known: what they begin shares their probability among the
choices that begin so. The reply itself has what is left of it at its end. Names are compared without case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

TOP: Final = 20
"""Tokens a place that are asked for, the most that the API allows."""
MAX_PLACES: Final = 256
FLOOR: Final = 1e-4
"""Probability of a choice that no token hints at, before all are brought to a sum of 1."""
_TRIMMED: Final = " \t\r\n\"'`*-"


class Token(Struct):
    token: Annotated[str, Meta(max_length=1_024)]
    logprob: float


class Place(Token):
    top_logprobs: Annotated[list[Token], Meta(max_length=10 * TOP)] = []


class Logprobs(Struct):
    content: list[Place] | None = None


def likelihoods(choices: Sequence[str], logprobs: Logprobs) -> list[float]:
    """Normalised log-probabilities of the choices (given in lower case), or nothing when no token fits any choice."""
    mass = [0.0] * len(choices)
    said, left = "", 1.0
    for place in (logprobs.content or [])[:MAX_PLACES]:
        for other in place.top_logprobs:
            if other.token != place.token:
                begun = _after(said, other.token)
                _share(mass, [begun != said and choice.startswith(begun) for choice in choices], left * _probability(other.logprob))
        said, left = _after(said, place.token), left * _probability(place.logprob)
    said = said.rstrip(_TRIMMED + ".")
    whole = [choice == said for choice in choices]
    _share(mass, whole if any(whole) else [said != "" and choice.startswith(said) for choice in choices], left)
    total = sum(mass)
    if total <= 0:
        return []
    floored = [share / total + FLOOR for share in mass]
    return [math.log(share / sum(floored)) for share in floored]


def _after(said: str, token: str) -> str:
    """What is said with the token; quotes, dashes and space before a choice do not matter."""
    return (said + token.casefold()).lstrip(_TRIMMED)


def _share(mass: list[float], fits: Sequence[bool], probability: float) -> None:
    """Give a probability to the choices that fit."""
    for at, one in enumerate(fits):
        if one:
            mass[at] += probability / sum(fits)


def _probability(logprob: float) -> float:
    """Of what a server says: never above 1, and nothing where it says no number."""
    return math.exp(min(0.0, logprob)) if math.isfinite(logprob) else 0.0
