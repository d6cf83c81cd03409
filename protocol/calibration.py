"""From a pooled probability to a confidence: one monotone map, fitted on questions whose answers are known.

The council puts the same panel, through the same `aggregate.pool`, to the shipped canary questions. Each gives a pair (pooled
probability of the leading answer, was it right). Isotonic regression (pool adjacent violators; Ayer and others 1955, as calibration
Zadrozny and Elkan 2002) turns the pairs into a staircase; each step promises (right + 1/2) / (count + 1) (Krichevsky and Trofimov 1981),
so that no step claims certainty, and stands on at least `MIN_STEP` canaries where there are as many. Within a step the confidence
still rises a little with the score (`BEND`): a strong council is right in nearly all canaries, which makes one step of everything, and
the score knows more about which of its answers to doubt. The map is the same for every question: no question is a special case.

Only choice and boolean questions have a pooled probability, so only they can be calibrated.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from protocol.api.council import Basis

MIN_STEP = 12
"""Pairs of one step: fewer say little more than chance, and a map of many small steps promises what it cannot know. (Chosen with
`leanings.FOLDS` on answers of the 270M: docs/benchmarks/council.md.)"""

BEND = 0.05
"""Share of the way to the neighbouring step's confidence (0 and 1 beyond the ends) that a step's own confidence comes at its edges.
(Chosen on scripted crews of every size and on answers of the 270M: docs/benchmarks/council.md.)"""

Count = Annotated[int, Meta(ge=0, le=100_000)]


class Step(Struct, frozen=True, array_like=True):
    """One step of the staircase: every pooled probability up to `upto` and above the step before."""

    upto: float
    centre: float
    """Mean score of its canaries: there the confidence is the step's own."""
    right: Count
    count: Count

    @property
    def confidence(self) -> float:
        return _shrink(self.right, self.count)


class Calibration(Struct, frozen=True, array_like=True):
    """What a confidence stands on; part of the receipt."""

    method: Literal["isotonic", "uncalibrated"]
    canaries: Count = 0
    """Questions the map was fitted on."""
    digest: Annotated[bytes, Meta(max_length=32)] = b""
    """SHA-256 of the canary set."""
    measured: Count = 0
    """Voters whose canary answers went in."""
    topic: Annotated[str, Meta(max_length=64)] | None = None
    """The canary topic that the question is like; None: untested."""
    topic_canaries: Count = 0
    topic_right: Count = 0
    steps: Annotated[list[Step], Meta(max_length=1_000)] = []


UNCALIBRATED = Calibration("uncalibrated")


class _Block(NamedTuple):
    """Neighbouring pairs seen as one: their scores, rising, and how many were right."""

    scores: tuple[float, ...]
    right: int

    @property
    def total(self) -> int:
        return len(self.scores)

    @property
    def centre(self) -> float:
        return min(self.scores[-1], max(self.scores[0], math.fsum(self.scores) / self.total))

    @property
    def shrunk(self) -> float:
        return _shrink(self.right, self.total)


def fit(pairs: Iterable[tuple[float, bool]]) -> list[Step]:
    """The staircase through (score in [0, 1], right) pairs; empty for no pairs. Thresholds lie midway between two steps."""
    blocks = [_Block((score,), int(right)) for score, right in sorted(pairs)]
    blocks = _pool(blocks, lambda one, next_one: one.scores[0] == next_one.scores[0])  # equal scores are one observation
    blocks = _pool(blocks, lambda one, next_one: one.right * next_one.total >= next_one.right * one.total)  # shares must rise
    blocks = _widen(blocks)
    blocks = _pool(blocks, lambda one, next_one: one.shrunk >= next_one.shrunk)  # and still rise once shrunk
    edges = [(one.scores[-1] + next_one.scores[0]) / 2.0 for one, next_one in pairwise(blocks)]
    return [Step(edge, block.centre, block.right, block.total) for edge, block in zip([*edges, 1.0], blocks, strict=False)]


def confidence(steps: Sequence[Step], score: float) -> float | None:
    """What the map promises for a pooled probability; None without a map. Products and quotients only: the same to the bit anywhere."""
    if not steps:
        return None
    index = min(bisect_left([step.upto for step in steps], score), len(steps) - 1)
    step = steps[index]
    if score < step.centre:
        edge, beside = (steps[index - 1].upto, steps[index - 1].confidence) if index else (0.0, 0.0)
    else:
        edge, beside = step.upto, steps[index + 1].confidence if index + 1 < len(steps) else 1.0
    way = (score - step.centre) / (edge - step.centre) if edge != step.centre else 0.0
    return step.confidence + BEND * way * (beside - step.confidence)


def rises(steps: Sequence[Step]) -> bool:
    """Whether this is a map that `fit` could have made: thresholds and confidences rise up to a score of 1, each centre is in its step."""
    edges = [0.0, *(step.upto for step in steps)]
    inside = all(low <= step.centre <= step.upto for low, step in zip(edges, steps, strict=False))
    counted = all(step.right <= step.count > 0 for step in steps)
    rising = all(low.upto < high.upto and low.confidence < high.confidence for low, high in pairwise(steps))
    return inside and counted and rising and (not steps or steps[-1].upto == 1.0)


def basis(calibration: Calibration, voters: int, gradable: bool) -> Basis:
    """What to show beside a confidence. `gradable`: the kind of question has canaries."""
    known = calibration.topic
    if not gradable:
        text = "uncalibrated: only choice and boolean questions have canaries"
    elif calibration.method == "uncalibrated":
        text = "uncalibrated: too few agents of this panel have answered the canary questions yet"
    elif known is not None:
        text = f"{calibration.canaries} canaries; topic {known} {calibration.topic_right} of {calibration.topic_canaries} right"
    else:
        text = f"{calibration.canaries} canaries; untested topic: none of them is like this question"
    if 0 < calibration.measured < voters:
        text += f"; measured on {calibration.measured} of {voters} voters"
    return Basis(calibration.method, calibration.canaries, known, calibration.topic_canaries, calibration.topic_right, text)


def _widen(blocks: list[_Block]) -> list[_Block]:
    """Merge the smallest block with the neighbour that is most like it, until none is smaller than `MIN_STEP`."""
    while len(blocks) > 1:
        small = min(range(len(blocks)), key=lambda index: blocks[index].total)
        if blocks[small].total >= MIN_STEP:
            break
        beside = [index for index in (small - 1, small + 1) if 0 <= index < len(blocks)]
        other = min(beside, key=lambda index: abs(blocks[index].right / blocks[index].total - blocks[small].right / blocks[small].total))
        low, high = blocks[min(small, other)], blocks[max(small, other)]
        blocks = [*blocks[: min(small, other)], _joined(low, high), *blocks[max(small, other) + 1 :]]
    return blocks


def _joined(low: _Block, high: _Block) -> _Block:
    return _Block(low.scores + high.scores, low.right + high.right)


def _pool(blocks: Iterable[_Block], violates: Callable[[_Block, _Block], bool]) -> list[_Block]:
    """Merge neighbours, from left to right and back again, until no two violate."""
    done: list[_Block] = []
    for block in blocks:
        done.append(block)
        while len(done) > 1 and violates(done[-2], done[-1]):
            high, low = done.pop(), done.pop()
            done.append(_joined(low, high))
    return done


def _shrink(right: int, count: int) -> float:
    return (right + 0.5) / (count + 1)
