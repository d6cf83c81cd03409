"""Measuring an agent on the shipped canary questions, once per genome, and what the measurement decides.

A language model leans towards some choices whatever is asked. Subtracting its prior (its log-probabilities for content-free inputs)
helps on some topics and harms on others (measured: four-way tickets 0.65 to 0.90, sentiment 1.00 to 0.94), so the canaries decide:
per topic, the form that was right more often, by the mean log-probability of the right answer where they tie. First form: the same
canaries choose the form and are then shown to the council, which flatters the better form a little.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec

from node.brains.base import Ask, Choice, Example

BATCH = 8
"""Canaries of one background call: what a question may have to wait for."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """An agent's answers to the canaries, in their order, and per topic whether its prior is taken out of its votes."""

    choices: tuple[Choice, ...]
    corrects: Mapping[str | None, bool]


def batches(canaries: Sequence[Example]) -> list[list[int]]:
    """Indices of canaries that go into one call: neighbours of one topic, which share few-shot examples and so a prompt prefix."""
    together = []
    for _, group in groupby(range(len(canaries)), key=lambda index: (canaries[index].topic, canaries[index].choices)):
        indices = list(group)
        together += [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
    return together


def corrected(choice: Choice) -> tuple[float, ...]:
    """Log-probabilities with the prior taken out, normalised again."""
    raw = [logprob - prior for logprob, prior in zip(choice.logprobs, choice.prior, strict=True)]
    highest = max(raw)
    total = highest + math.log(math.fsum(math.exp(value - highest) for value in raw))
    return tuple(value - total for value in raw)


def logprobs_of(choice: Choice, topic: str | None, measurement: Measurement | None) -> tuple[float, ...]:
    """A choice vote's log-probabilities: raw, or with the prior taken out where that helps on this topic."""
    if measurement is None or not choice.logprobs or len(choice.prior) != len(choice.logprobs):
        return choice.logprobs
    corrects = measurement.corrects.get(topic, measurement.corrects.get(None, False))
    return corrected(choice) if corrects else choice.logprobs


def topics_to_correct(canaries: Sequence[Example], measured: Sequence[Choice]) -> dict[str | None, bool]:
    """For each topic, and for None (all canaries together, for questions of no known topic): take the prior out?"""
    decisions: dict[str | None, bool] = {}
    for topic in (None, *dict.fromkeys(canary.topic for canary in canaries)):
        pairs = [
            (canary, choice)
            for canary, choice in zip(canaries, measured, strict=True)
            if choice.logprobs and len(choice.prior) == len(choice.logprobs) and topic in (None, canary.topic)
        ]
        raw = _merit([(canary, choice.logprobs) for canary, choice in pairs])
        without_prior = _merit([(canary, corrected(choice)) for canary, choice in pairs])
        decisions[topic] = without_prior > raw
    return decisions


def _merit(answers: Sequence[tuple[Example, Sequence[float]]]) -> tuple[int, float]:
    """(how many right, summed log-probability of the right answer)."""
    right, total = 0, 0.0
    for canary, logprobs in answers:
        truth = canary.choices.index(canary.answer)
        right += max(range(len(logprobs)), key=logprobs.__getitem__) == truth
        total += logprobs[truth]
    return right, total


def measurement_name(fingerprint: str, asks: Sequence[Ask], genome_hash: bytes) -> str:
    """Equal when brain, genome and everything asked are equal."""
    content = [(ask.question, ask.choices, [(example.question, example.answer) for example in ask.examples]) for ask in asks]
    return hashlib.sha256(fingerprint.encode() + genome_hash + msgspec.msgpack.encode(content)).hexdigest()
