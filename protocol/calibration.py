"""From a pooled probability to a confidence: one monotone map, fitted on questions whose answers are known.

The council puts the same panel, through the same `aggregate.pool`, to the shipped canary questions. Each gives a pair (pooled
probability of the leading answer, was it right). Isotonic regression (pool adjacent violators; Ayer and others 1955, as calibration
Zadrozny and Elkan 2002) turns the pairs into a staircase; each step says (right + 1) / (count + 2), Laplace's rule of succession,
so that no step claims certainty, and stands on at least `MIN_STEP` canaries where there are as many. The map is the same for every
question: no question is a special case.

Only choice and boolean questions have a pooled probability, so only they can be calibrated.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from protocol.api.council import Basis

MIN_STEP = 12
"""Pairs of one step: fewer say little more than chance, and a map of many small steps promises what it cannot know. (Chosen with
`leanings.FOLDS` on answers of the 270M: docs/benchmarks/council.md.)"""

Count = Annotated[int, Meta(ge=0, le=100_000)]


class Step(Struct, frozen=True, array_like=True):
    """One step of the staircase: every pooled probability up to `upto` and above the step before."""

    upto: float
    confidence: float
    right: Count
    count: Count


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
    """Neighbouring pairs seen as one: their lowest and highest score, how many were right, how many there are."""

    low: float
    high: float
    right: int
    total: int

    @property
    def shrunk(self) -> float:
        return _shrink(self.right, self.total)


def fit(pairs: Iterable[tuple[float, bool]]) -> list[Step]:
    """The staircase through (score in [0, 1], right) pairs; empty for no pairs. Thresholds lie midway between two steps."""
    blocks = [_Block(score, score, int(right), 1) for score, right in sorted(pairs)]
    blocks = _pool(blocks, lambda one, next_one: one.low == next_one.low)  # equal scores are one observation
    blocks = _pool(blocks, lambda one, next_one: one.right * next_one.total >= next_one.right * one.total)  # shares must rise
    blocks = _widen(blocks)
    blocks = _pool(blocks, lambda one, next_one: one.shrunk >= next_one.shrunk)  # and still rise once shrunk
    edges = [(one.high + next_one.low) / 2.0 for one, next_one in pairwise(blocks)]
    return [Step(edge, block.shrunk, block.right, block.total) for edge, block in zip([*edges, 1.0], blocks, strict=False)]


def confidence(steps: Sequence[Step], score: float) -> float | None:
    """The step a pooled probability stands on; None without a map."""
    if not steps:
        return None
    index = bisect_left([step.upto for step in steps], score)
    return steps[min(index, len(steps) - 1)].confidence


def rises(steps: Sequence[Step]) -> bool:
    """Whether this is a map that `fit` could have made: thresholds and confidences rise, each confidence follows from its counts."""
    counted = all(step.right <= step.count and step.confidence == _shrink(step.right, step.count) for step in steps)
    return counted and all(low.upto < high.upto and low.confidence < high.confidence for low, high in pairwise(steps))


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
    return _Block(low.low, high.high, low.right + high.right, low.total + high.total)


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
    return (right + 1) / (count + 2)
