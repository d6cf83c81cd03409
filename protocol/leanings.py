"""An agent's leanings: which of the same choices it favours whatever is asked, learnt on canaries and taken out of its votes.

A small model that is to name one of four teams says "billing" to nearly everything, and yet the right team gains most over what it usually
gets (Zhao and others 2021, "Calibrate before use"; Zhou and others 2024, "Batch calibration"). What is taken out of a vote's
log-probabilities is learnt from canaries with the very same choices: log of what the agent gave a choice over its fair share, each
choice being right equally often (canaries that are all "yes" must not teach that everything is). One step, not a fit to the end,
and smoothed, so that few canaries change little.

The leaning of a vote stands in the receipt (`Seat.lean`); it changes what the vote counts for, never what was signed.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from protocol.aggregate import log_odds, pool, ranked

FEWEST = 8
"""Canaries with the same choices from which on a leaning is believed."""
SMOOTHING = 4.0
"""Canaries that the assumption of no leaning counts for."""
EACH = 2
"""And of them for every choice at least so many of which it is the right one."""
FOLDS = 10
DIGITS = 6
MAX_LEAN = 20.0


class Mark(Struct, frozen=True, array_like=True):
    """One agent's answer to one canary."""

    logprobs: Annotated[list[float], Meta(max_length=64)]
    """As it voted; empty: no opinion."""
    truth: Annotated[int, Meta(ge=0, le=63)]
    """Index of the right choice."""
    right: bool
    """Whether the vote counted for the right choice, its leaning of that time taken out."""
    choices: Annotated[bytes, Meta(max_length=8)]
    """`choices_key` of the canary."""
    topic: Annotated[str, Meta(max_length=64)]


def choices_key(choices: Sequence[str]) -> bytes:
    """The same for the same choices in the same order."""
    return hashlib.sha256("\0".join(choices).encode()).digest()[:8]


def lean_of(marks: Iterable[Mark]) -> list[float]:
    """What to take out of log-probabilities over the choices that all these canaries share; empty where too little is known."""
    opinions = [mark for mark in marks if mark.logprobs]
    if len(opinions) < FEWEST or len({len(mark.logprobs) for mark in opinions}) != 1:
        return []
    choices = len(opinions[0].logprobs)
    right = Counter(mark.truth for mark in opinions)
    if any(right[index] < EACH for index in range(choices)):
        return []
    fair = len(opinions) / choices
    given = [math.fsum(math.exp(mark.logprobs[index]) * fair / right[mark.truth] for mark in opinions) for index in range(choices)]
    lean = [math.log((x + SMOOTHING / choices) / (fair + SMOOTHING / choices)) for x in given]
    mean = math.fsum(lean) / choices
    return [round(x - mean, DIGITS) for x in lean]


def level(logprobs: Sequence[float], lean: Sequence[float]) -> list[float]:
    """A vote with its leaning taken out, normalised again. A vote without an opinion does not gain one by it: empty."""
    if not lean or log_odds(logprobs) is None:
        return list(logprobs)
    raw = [logprob - own for logprob, own in zip(logprobs, lean, strict=True)]
    total = max(raw) + math.log(math.fsum(math.exp(x - max(raw)) for x in raw))
    return [x - total for x in raw]


def cross_fitted(panel: Sequence[Mapping[str, Mark]], weights: Sequence[float], share: float) -> dict[str, tuple[float, bool]]:
    """Canary -> (pooled probability of the leading answer, was it right), for canaries that this share of the panel answered.

    No canary is judged with leanings that were learnt from it: they come from the other `FOLDS` - 1 parts.
    """
    answered = Counter(canary for marks in panel for canary in marks)
    common = sorted(canary for canary, count in answered.items() if count >= share * len(panel))
    found: dict[str, tuple[float, bool]] = {}
    for fold in range(FOLDS):
        judged = common[fold::FOLDS]
        leans = [_leans(marks, set(judged)) for marks in panel]
        for canary in judged:
            heard = [(marks[canary], own, w) for marks, own, w in zip(panel, leans, weights, strict=True) if canary in marks]
            votes = [(x, w) for mark, own, w in heard if (x := log_odds(level(mark.logprobs, own.get(mark.choices, [])))) is not None]
            if votes and len({(len(mark.logprobs), mark.truth) for mark, _, _ in heard if mark.logprobs}) == 1:
                pooled = pool([x for x, _ in votes], [w for _, w in votes])
                best = ranked(pooled)[0]
                found[canary] = pooled[best], best == heard[0][0].truth
    return found


def _leans(marks: Mapping[str, Mark], left_out: set[str]) -> dict[bytes, list[float]]:
    """By choices, from all canaries but these."""
    alike: defaultdict[bytes, list[Mark]] = defaultdict(list)
    for canary, mark in marks.items():
        if canary not in left_out:
            alike[mark.choices].append(mark)
    return {key: lean_of(own) for key, own in alike.items()}
