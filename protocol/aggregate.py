"""Votes to a leading answer: deterministic, so that a verifier recomputes it to the bit.

    choice, boolean   mean of capped log-odds (a logarithmic opinion pool with a cap), less what distrusted votes rule out, normalised
    number            weighted plurality of canonical values; a weighted trimmed mean where no value has a majority
    text              the densest cluster by shared words; its medoid, verbatim
    embedding         geometric median, snapped to the nearest real answer

Rules, cap and thresholds are version `AGGREGATOR`: a receipt names it, and a change of any of them is a new version. Sums use
`math.fsum` (correctly rounded, so in any order the same). Where a logarithm or exponential came in (whose last bit differs
between C libraries) the result is rounded to `DIGITS`, and everything is decided on the rounded figure.

Weights come from `protocol.weights`. A negative weight rules a choice out, and only beside trusted votes: distrust proposes nothing. In
the other kinds there is nothing to rule out, so such a vote weighs `MIN_WEIGHT`. Version 1 had weights of 1, version 2 none below
zero, version 3 one confidence for a whole step of the calibration map.
First form: text is compared by words, not by meaning.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from protocol.ballots import Question, Vote
from protocol.weights import DISTRUST, MIN_WEIGHT

AGGREGATOR = "4"

Answer: TypeAlias = str | float | bool | list[float] | None

DIGITS = 6
LOGIT_CAP = 4.0
"""Largest log-odds one vote may bring (0.982): one overconfident agent must not outvote several that are fairly sure."""
NO_OPINION = 0.02
"""A vote whose top probability has come at most this share of the way from uniform to certain says nothing."""
SPLIT_EPSILON = 0.01
"""Two leaders whose difference is at most this share of their sum are tied."""
MAJORITY = 0.5
TRIM = 0.2
"""Share of the weight that the trimmed mean drops at each end."""
TEXT_SAME = 0.5
"""Shared words over all words (Jaccard) from which two texts say the same."""
EMBEDDING_SAME = 0.3
"""Two vectors are the same answer when their distance is at most this share of the answer's length (cosine about 0.95)."""
EMBEDDING_TIE = 1e-6
MEDIAN_STEPS = 64


class Opinion(Struct, frozen=True):
    """What one vote says by itself."""

    answer: Answer
    """None: no opinion."""
    probability: float | None
    """The agent's own probability of its answer (choice and boolean)."""
    agrees: bool
    """Its answer is the leading one."""


class Tally(Struct, frozen=True):
    """The votes added up, before confidence and quorum are looked at."""

    leading: Answer
    top: float | None
    """Pooled probability of the leading answer (choice and boolean)."""
    agreement: float | None
    """Share by weight of the votes with an opinion whose own answer is the leading one."""
    counted: int
    """Votes with an opinion."""
    rival: Answer
    """What the leading answer is tied with, if it is."""
    opinions: list[Opinion]
    """One for each vote, in their order."""
    note: str
    """One sentence on how the answer came about, where it is not obvious."""


def aggregate(question: Question, votes: Sequence[Vote], weights: Sequence[float]) -> Tally:
    """Add up valid votes (`ballots.vote_fault` is None for each); `weights`: one for each vote."""
    if question.kind in ("choice", "boolean"):
        return _choice(question, votes, weights)
    weights = [max(MIN_WEIGHT, weight) for weight in weights]
    if question.kind == "number":
        return _number([vote.number for vote in votes], weights)
    if question.kind == "text":
        return _text([vote.text for vote in votes], weights)
    return _embedding([vote.embedding for vote in votes], weights)


# ---- choice and boolean ----------------------------------------------------------------------------------------------


def log_odds(logprobs: Sequence[float]) -> tuple[float, ...] | None:
    """Capped log-odds of each choice, or None where the vote has no opinion. Input: valid log-probabilities, or none at all."""
    if not logprobs:
        return None
    odds = [math.exp(x - max(logprobs)) for x in logprobs]
    total = math.fsum(odds)
    uniform = 1.0 / len(odds)
    if round(max(odds) / total - uniform, DIGITS) <= NO_OPINION * (1.0 - uniform):
        return None
    return tuple(_logit(x / total) for x in odds)


def _logit(probability: float) -> float:
    if probability <= 0.0:
        return -LOGIT_CAP
    if probability >= 1.0:
        return LOGIT_CAP
    return max(-LOGIT_CAP, min(LOGIT_CAP, math.log(probability) - math.log1p(-probability)))


def pool(odds: Sequence[Sequence[float]], weights: Sequence[float]) -> tuple[float, ...]:
    """Pooled probability of each choice from at least one vote's `log_odds`, rounded to `DIGITS`.

    The mean, not the sum: votes of like minds are not independent evidence, so repeating one must not raise its certainty.
    A vote of negative weight counts against the choice that it names, as if a trusted vote denied it with full certainty.
    How far the figure can be trusted is for the calibration to say.
    """
    trusted = [(w, x) for w, x in zip(believed(weights), odds, strict=True) if w > 0.0]
    against = [0.0] * len(odds[0])
    for w, x in zip(weights, odds, strict=True):
        if w < 0.0 < max(weights):
            against[ranked(x)[0]] -= w
    weight = math.fsum(w for w, _ in trusted)
    means = [
        (math.fsum(w * x[choice] for w, x in trusted) - LOGIT_CAP * min(DISTRUST, against[choice])) / weight
        for choice in range(len(against))
    ]
    chances = [1.0 / (1.0 + math.exp(-mean)) for mean in means]
    total = math.fsum(chances)
    return tuple(round(chance / total, DIGITS) for chance in chances)


def believed(weights: Sequence[float]) -> list[float]:
    """What each vote brings for its own answer: nothing where it is distrusted; where all are, all the same."""
    return [max(0.0, weight) for weight in weights] if any(weight > 0.0 for weight in weights) else [MIN_WEIGHT] * len(weights)


def ranked(pooled: Sequence[float]) -> list[int]:
    """Indices of the choices, most probable first; ties in the order of the question."""
    return sorted(range(len(pooled)), key=lambda index: -pooled[index])


def _choice(question: Question, votes: Sequence[Vote], weights: Sequence[float]) -> Tally:
    names: list[Answer] = [False, True] if question.kind == "boolean" else list(question.choices)
    odds = [log_odds(vote.logprobs) for vote in votes]
    heard = [(x, w) for x, w in zip(odds, weights, strict=True) if x is not None]
    if not heard:
        return _nobody(len(votes))
    pooled = pool([x for x, _ in heard], [w for _, w in heard])
    first, second = ranked(pooled)[:2]
    opinions = []
    for vote, own in zip(votes, odds, strict=True):
        best = ranked(vote.logprobs)[0] if own is not None else None
        chance = round(math.exp(vote.logprobs[best]), DIGITS) if best is not None else None
        opinions.append(Opinion(names[best] if best is not None else None, chance, best == first))
    rival = names[second] if _tied(pooled[first], pooled[second]) else None
    return _tally(names[first], opinions, weights, top=pooled[first], rival=rival)


# ---- number ----------------------------------------------------------------------------------------------------------


def canonical(number: float) -> float:
    """Nine significant digits, and one zero: numbers that people would call equal are equal."""
    return float(f"{number:.9g}") + 0.0


def _number(numbers: Sequence[float | None], weights: Sequence[float]) -> Tally:
    own = [None if number is None else canonical(number) for number in numbers]
    heard = [(value, weight) for value, weight in zip(own, weights, strict=True) if value is not None]
    if not heard:
        return _nobody(len(numbers))
    values = sorted({value for value, _ in heard})
    share = {value: math.fsum(w for v, w in heard if v == value) for value in values}
    total = math.fsum(share.values())
    leaders = sorted(values, key=lambda value: -share[value])
    leading, rival, note = leaders[0], None, ""
    if share[leading] <= MAJORITY * total:
        rival = _second_peak(leaders, share, total)
        if rival is None:
            leading = canonical(_trimmed_mean(sorted(heard)))
            note = "No number had a majority, so the answer is the trimmed mean of all."
    return _tally(leading, [Opinion(value, None, value == leading) for value in own], weights, rival=rival, note=note)


def _second_peak(leaders: Sequence[float], share: dict[float, float], total: float) -> float | None:
    """The value that shares the lead, when two camps stand against each other and a mean of them would be nobody's answer."""
    if len(leaders) < 2 or not _tied(share[leaders[0]], share[leaders[1]]) or share[leaders[1]] < total / 3:
        return None
    third = len(leaders) > 2 and _tied(share[leaders[1]], share[leaders[2]])
    return None if third else leaders[1]


def _trimmed_mean(pairs: Sequence[tuple[float, float]]) -> float:
    """Weighted mean of sorted (value, weight) pairs without the outer `TRIM` of the weight at either end."""
    total = math.fsum(weight for _, weight in pairs)
    low, high = TRIM * total, (1.0 - TRIM) * total
    kept, start = [], 0.0
    for value, weight in pairs:
        end = start + weight
        kept.append((value, max(0.0, min(end, high) - max(start, low))))
        start = end
    return math.fsum(value * weight for value, weight in kept) / math.fsum(weight for _, weight in kept)


# ---- text ------------------------------------------------------------------------------------------------------------


def normalised(text: str) -> str:
    """Unicode NFKC, case folded, punctuation to blanks, blanks single: what two texts are compared by."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(c if c.isalnum() or unicodedata.combining(c) else " " for c in folded).split()
    return " ".join(words) or folded.strip()


def _text(texts: Sequence[str], weights: Sequence[float]) -> Tally:
    own = [index for index, text in enumerate(texts) if text.strip()]
    if not own:
        return _nobody(len(texts))
    words = {index: frozenset(normalised(texts[index]).split() or [texts[index]]) for index in own}
    near = {a: {b: len(words[a] & words[b]) / len(words[a] | words[b]) for b in own} for a in own}
    clusters = _clusters(texts, near, weights)
    leading = _medoid(texts, clusters[0], near, weights)
    rival = None
    if len(clusters) > 1 and _tied(_mass(clusters[0], weights), _mass(clusters[1], weights)):
        other = _medoid(texts, clusters[1], near, weights)
        if _tied(_centrality(leading, near, weights), _centrality(other, near, weights)):
            rival = texts[other]
    opinions = [Opinion(text if index in near else None, None, index in clusters[0]) for index, text in enumerate(texts)]
    return _tally(texts[leading], opinions, weights, rival=rival)


def _clusters(texts: Sequence[str], near: dict[int, dict[int, float]], weights: Sequence[float]) -> list[list[int]]:
    """Densest neighbourhood first, then the densest of what is left; heaviest first, then the most central."""
    left, clusters = list(near), []
    while left:
        around = {a: [b for b in left if near[a][b] >= TEXT_SAME] for a in left}
        centre = min(left, key=lambda a: (-_mass(around[a], weights), -_centrality(a, near, weights), texts[a]))
        clusters.append(around[centre])
        left = [index for index in left if index not in around[centre]]
    return sorted(clusters, key=lambda cluster: (-_mass(cluster, weights), -max(_centrality(a, near, weights) for a in cluster)))


def _medoid(texts: Sequence[str], cluster: Sequence[int], near: dict[int, dict[int, float]], weights: Sequence[float]) -> int:
    """The member most like the others of its cluster; of equals the shortest text, then the first in the alphabet."""

    def order(a: int) -> tuple[float, int, str]:
        return -math.fsum(weights[b] * near[a][b] for b in cluster), len(texts[a]), texts[a]

    return min(cluster, key=order)


def _mass(cluster: Sequence[int], weights: Sequence[float]) -> float:
    return math.fsum(weights[index] for index in cluster)


def _centrality(index: int, near: dict[int, dict[int, float]], weights: Sequence[float]) -> float:
    """How much of all votes' words a text shares: breaks the tie between clusters of equal weight."""
    return math.fsum(weights[other] * likeness for other, likeness in near[index].items())


# ---- embedding -------------------------------------------------------------------------------------------------------


def _embedding(vectors: Sequence[Sequence[float]], weights: Sequence[float]) -> Tally:
    own = [index for index, vector in enumerate(vectors) if vector]
    if not own:
        return _nobody(len(vectors))
    apart = {a: {b: math.dist(vectors[a], vectors[b]) for b in own} for a in own}
    off = _to_median(apart, weights)
    leading, *others = sorted(own, key=lambda index: (off[index], list(vectors[index])))
    reach = EMBEDDING_SAME * math.hypot(*vectors[leading])
    rival: Answer = None
    if others and off[others[0]] - off[leading] <= EMBEDDING_TIE * off[leading] and apart[leading][others[0]] > reach:
        rival = list(vectors[others[0]])
    opinions = [
        Opinion(list(vector) if vector else None, None, bool(vector) and apart[leading][index] <= reach)
        for index, vector in enumerate(vectors)
    ]
    return _tally(list(vectors[leading]), opinions, weights, rival=rival)


def _to_median(apart: dict[int, dict[int, float]], weights: Sequence[float]) -> dict[int, float]:
    """Distance of each vector to the geometric median (Weiszfeld's iteration).

    The median is a mixture of the vectors, so pairwise distances suffice: for y = sum of c_i x_i with shares c that sum to 1,
    |y - x_j|^2 = sum_i c_i d_ij^2 - 1/2 sum_ik c_i c_k d_ik^2. That is independent of the number of components.
    """
    own = list(apart)
    total = math.fsum(weights[a] for a in own)
    shares = {a: weights[a] / total for a in own}
    off: dict[int, float] = {}
    for _ in range(MEDIAN_STEPS):
        pull = {a: math.fsum(shares[b] * apart[a][b] ** 2 for b in own) for a in own}
        spread = math.fsum(shares[a] * pull[a] for a in own) / 2.0
        off = {a: math.sqrt(max(0.0, pull[a] - spread)) for a in own}
        floor = 1e-9 * max(off.values())
        if floor == 0.0:
            break  # all vectors are one
        rough = {a: weights[a] / max(off[a], floor) for a in own}
        total = math.fsum(rough.values())
        shares = {a: rough[a] / total for a in own}
    return off


# ---- all kinds -------------------------------------------------------------------------------------------------------


def _tied(first: float, second: float) -> bool:
    return first - second <= SPLIT_EPSILON * (first + second)


def _nobody(votes: int) -> Tally:
    return Tally(None, None, None, 0, None, [Opinion(None, None, False)] * votes, "")


def _tally(
    leading: Answer,
    opinions: list[Opinion],
    weights: Sequence[float],
    *,
    top: float | None = None,
    rival: Answer = None,
    note: str = "",
) -> Tally:
    with_opinion = [(o, w) for o, w in zip(opinions, weights, strict=True) if o.answer is not None]
    trust = believed([w for _, w in with_opinion])
    agreement = math.fsum(w for (o, _), w in zip(with_opinion, trust, strict=True) if o.agrees) / math.fsum(trust)
    return Tally(leading, top, agreement, len(with_opinion), rival, opinions, note)
