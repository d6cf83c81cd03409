"""What a vote weighs: the skill its agent has shown, shared out among votes that err together.

    skill     Beta posterior over right and wrong answers (hidden canaries and signed feedback, per topic)
    weight    log-odds of that skill against guessing: log(p (k - 1) / (1 - p)), what an independent vote is worth under naive Bayes
              (Nitzan and Paroush 1982), at the cautious end of the posterior: a standard deviation below its mean, at least `MIN_WEIGHT`
    distrust  an agent below chance with near certainty (95%, one-sided) has a negative weight: known liars rule answers out. All of
              them together bring at most `DISTRUST` against one answer (`protocol.aggregate.pool`), less than one trusted vote can bring
              for it, so that whoever errs on canaries on purpose and is honest afterwards gains no more than that
    crowd     n votes of one group count as n / (1 + (n - 1) rho) (Kish's design effect); rho is how alike their errors on canaries are

Groups are brains, and whoever errs so alike on canaries that it cannot be chance: colluders do not announce themselves as one brain.

Pure and deterministic: all that goes in stands in the receipt (`Seat.good`, `Seat.bad`, `Seat.group`, `Receipt.rho`).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from msgspec import Struct

DIGITS = 6
MIN_WEIGHT, MAX_WEIGHT = 0.02, 4.0
DISTRUST = 2.5
"""Most that votes of negative weight bring against one answer, together."""
CAUTION, SURELY = 1.0, 1.645
"""Standard deviations of the posterior below its mean at which a skill is believed, and above at which it is disbelieved."""
MAX_EVIDENCE = 1_000.0
"""Observations for or against one agent that a receipt may claim."""
PRIOR = 4.0
"""Observations that the prior counts for; its mean is half way from guessing to certain, so unknown agents weigh alike."""
RATER_CAP = 40.0
"""What one rater may bring about one agent and topic, in observations: nobody makes or ruins a reputation alone."""
HEARSAY_CAP = 3 * RATER_CAP
"""What all other raters together may bring: in an open swarm one person can be many raters."""
HALF_LIFE_S = 30 * 86_400.0
ELSEWHERE = 0.25
"""What an observation on another topic counts."""
ALIKE = 0.35
"""Correlation of errors from which agents of different brains are taken for one group."""
FEWEST = 30
"""Canaries that two agents must have answered both before their errors are compared."""


class Evidence(Struct, frozen=True, array_like=True):
    """Right and wrong answers, in observations, as of `at` (seconds since the epoch)."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0

    def decayed(self, now: float) -> Evidence:
        """Halved every `HALF_LIFE_S`; a time in the future does not make it grow."""
        share = 0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S)
        return Evidence(self.good * share, self.bad * share, now)

    def capped(self, limit: float = RATER_CAP) -> Evidence:
        total = self.good + self.bad
        return self if total <= limit else Evidence(self.good * limit / total, self.bad * limit / total, self.at)

    def plus(self, right: float, now: float) -> Evidence:
        """After one more observation in [0, 1]."""
        old = self.decayed(now)
        return Evidence(old.good + right, old.bad + 1.0 - right, now)


def merge_raters(own: Mapping[str, Evidence], others: Sequence[Mapping[str, Evidence]], topic: str, now: float) -> Evidence:
    """What all raters together say of one agent on one topic: our own in full, others' capped each and together, all decayed."""
    said = [_said(other, topic, now, RATER_CAP) for other in others]
    seen = _said(own, topic, now, MAX_EVIDENCE / 2)
    heard = Evidence(math.fsum(one.good for one in said), math.fsum(one.bad for one in said), now).capped(HEARSAY_CAP)
    return Evidence(round(seen.good + heard.good, DIGITS), round(seen.bad + heard.bad, DIGITS), now).capped(MAX_EVIDENCE)


def _said(rater: Mapping[str, Evidence], topic: str, now: float, limit: float) -> Evidence:
    """One rater's observations as far as they bear on a topic."""
    held = [(1.0 if name == topic else ELSEWHERE, evidence.decayed(now).capped(limit)) for name, evidence in rater.items()]
    return Evidence(math.fsum(share * one.good for share, one in held), math.fsum(share * one.bad for share, one in held), now)


def skill(good: float, bad: float, choices: int) -> float:
    """Posterior mean chance of being right among so many choices."""
    mean = (1.0 + 1.0 / choices) / 2.0
    return (good + PRIOR * mean) / (good + bad + PRIOR)


def weight_alone(good: float, bad: float, choices: int) -> float:
    """Of a vote that shares its errors with nobody; negative for an agent surely below chance."""
    p = skill(good, bad, choices)
    spread = math.sqrt(p * (1.0 - p) / (good + bad + PRIOR + 1.0))
    above = _log_odds(p + SURELY * spread, choices)
    return above if above < 0.0 else max(MIN_WEIGHT, _log_odds(p - CAUTION * spread, choices))


def _log_odds(p: float, choices: int) -> float:
    """Against guessing among so many choices, capped on both sides; p may lie outside (0, 1)."""
    if not 0.0 < p < 1.0:
        return -MAX_WEIGHT if p <= 0.0 else MAX_WEIGHT
    return max(-MAX_WEIGHT, min(MAX_WEIGHT, math.log(p * (choices - 1)) - math.log1p(-p)))


def hearsay(own: Evidence, everybody: Evidence, choices: int) -> Evidence:
    """What `everybody` says, but where only others' word makes an agent a liar: silenced, never turned against itself.

    Slander by many raters could otherwise make an honest agent's votes rule the right answers out.
    """
    if weight_alone(everybody.good, everybody.bad, choices) >= 0.0 or weight_alone(own.good, own.bad, choices) < 0.0:
        return everybody
    mean = PRIOR * (1.0 + 1.0 / choices) / 2.0
    at_chance = choices * (everybody.good + mean) - everybody.good - PRIOR
    return Evidence(everybody.good, round(min(everybody.bad, at_chance), DIGITS), everybody.at)


def effective(votes: int, rho: float) -> float:
    """How many independent votes so many correlated ones are worth."""
    return votes / (1.0 + (votes - 1) * rho)


def weights(evidence: Sequence[tuple[float, float, int]], rho: Sequence[float], choices: int) -> list[float]:
    """Of votes given as (good, bad, group); `rho` by group. Rounded to `DIGITS`. Distrusted votes are not of their group's crowd."""
    alone = [weight_alone(good, bad, choices) for good, bad, _ in evidence]
    sizes = Counter(group for weight, (_, _, group) in zip(alone, evidence, strict=True) if weight > 0.0)
    share = {group: effective(size, rho[group]) / size for group, size in sizes.items()}
    return [
        round(max(MIN_WEIGHT, weight * share[group]) if weight > 0.0 else weight, DIGITS)
        for weight, (_, _, group) in zip(alone, evidence, strict=True)
    ]


# ---- who errs alike --------------------------------------------------------------------------------------------------

Marks = Mapping[str, bool]
"""Canary id -> was the agent right?"""


def correlation(one: Marks, other: Marks) -> float | None:
    """Phi coefficient of two agents' being right; None where too little is known or one never varies."""
    common = one.keys() & other.keys()
    if len(common) < FEWEST:
        return None
    n = len(common)
    a, b = sum(one[key] for key in common), sum(other[key] for key in common)
    both = sum(one[key] and other[key] for key in common)
    spread = a * (n - a) * b * (n - b)
    return (n * both - a * b) / math.sqrt(spread) if spread else None


def groups(brains: Sequence[str], marks: Sequence[Marks]) -> tuple[list[int], list[float]]:
    """(group of each agent, rho of each group): agents that err alike first (single linkage), the others by brain.

    In that order, so that liars who hide behind an honest brain's name do not drag its other agents into their group.
    """
    count = len(brains)
    alike = {(i, j): found for i, j in combinations(range(count), 2) if (found := correlation(marks[i], marks[j])) is not None}
    linked = list(range(count))
    for (i, j), found in alike.items():
        if found >= ALIKE and linked[i] != linked[j]:
            linked = [linked[i] if root == linked[j] else root for root in linked]
    alone = {root for root, size in Counter(linked).items() if size == 1}
    names = [f"brain {brain}" if root in alone else f"alike {root}" for brain, root in zip(brains, linked, strict=True)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    pairs: dict[str, list[float]] = {name: [] for name in numbers}
    for (i, j), found in alike.items():
        if names[i] == names[j]:
            pairs[names[i]].append(found)
    rho = [round(min(1.0, max(0.0, math.fsum(found) / len(found))), DIGITS) if found else 0.0 for found in pairs.values()]
    return [numbers[name] for name in names], rho


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over 32-byte hashes, as RFC 6962, section 2.1, builds it: one vote can be shown without the others."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()
