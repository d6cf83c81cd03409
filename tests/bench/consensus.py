"""Our answer beside the best single agent, the unweighted majority and the most self-consistent agent, on scripted agents."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from protocol.aggregate import log_odds, pool, ranked
from protocol.calibration import Step, confidence, fit
from protocol.weights import Evidence, groups, weights
from tests.bench.scripted import CHOICES, Agent, Said, all_knowing, ask, crew, logprobs

SIZES = (1, 3, 5, 9, 15, 25)
CANARIES = 200
QUESTIONS = 1_500
BINS = 10
ALL_KNOWING = "one who knows every skill and every liar"
BASELINES = ("best single agent", "unweighted majority", "most self-consistent agent")


@dataclass(slots=True)
class Score:
    """One crew's record: what was right, per question and method, and our confidence in each of our answers."""

    right: dict[str, list[bool]] = field(default_factory=dict)
    sure: dict[str, list[float]] = field(default_factory=dict)

    def share(self, name: str) -> float:
        return sum(self.right[name]) / len(self.right[name])


def examine(agents: Sequence[Agent], rng: random.Random) -> tuple[list[float], list[Step]]:
    """Weights and calibration map after the canaries, by the product's own code.

    The map is cross-fitted: each half of the canaries is pooled with weights from the other half, so it is not flattered.
    """
    asked = []
    for _ in range(CANARIES):
        truth = rng.randrange(CHOICES)
        asked.append((truth, ask(list(agents), truth, rng, canary=True)))
    pairs = []
    for half in (0, 1):
        learnt = _weigh(agents, asked[half::2])
        pairs += [(top, best == truth) for truth, said in asked[1 - half :: 2] for best, top in [decide(said, learnt)]]
    return _weigh(agents, asked), fit(pairs)


def _weigh(agents: Sequence[Agent], asked: Sequence[tuple[int, list[Said]]]) -> list[float]:
    marks = [{str(n): said[index].best == truth for n, (truth, said) in enumerate(asked)} for index in range(len(agents))]
    evidence = [Evidence(float(sum(own.values())), float(len(own) - sum(own.values()))) for own in marks]
    numbers, rho = groups([str(agent.brain) for agent in agents], marks)
    return weights([(e.good, e.bad, group) for e, group in zip(evidence, numbers, strict=True)], rho, CHOICES)


def decide(said: Sequence[Said], learnt: Sequence[float]) -> tuple[int, float]:
    """(our answer, its pooled probability)."""
    heard = [(odds, weight) for one, weight in zip(said, learnt, strict=True) if (odds := log_odds(logprobs(one))) is not None]
    pooled = pool([odds for odds, _ in heard], [weight for _, weight in heard])
    best = ranked(pooled)[0]
    return best, pooled[best]


def play(count: int, liars: int, seed: int, *, recognises: bool = False, removed: bool = False, acts: str = "") -> Score:
    """Examine a crew, then ask it. `removed`: the same crew after its liars have left, which is the best that trust can do."""
    rng = random.Random(f"{count} {liars} {seed} {recognises}")
    agents = crew(count, liars, random.Random(f"crew {count} {seed}"), recognises=recognises, acts=acts)[
        : count - liars if removed else count
    ]
    learnt, steps = examine(agents, rng)
    honest = [index for index, agent in enumerate(agents) if not agent.liar] or list(range(len(agents)))
    best_agent = max(honest, key=lambda index: agents[index].skill)  # by true skill, which nobody could know
    names = ("ours", *BASELINES, ALL_KNOWING)
    score = Score({name: [] for name in names}, {name: [] for name in names})
    for _ in range(QUESTIONS):
        truth = rng.randrange(CHOICES)
        said = ask(agents, truth, rng, canary=False)
        ours, top = decide(said, learnt)
        votes = Counter(one.best for one in said)
        majority = max(votes, key=lambda answer: (votes[answer], -answer))
        steady = max(said, key=lambda one: one.consistency)
        single = said[best_agent]
        answers = {
            "ours": (ours, confidence(steps, top) or 0.0),
            "best single agent": (single.best, max(single.probabilities)),
            "unweighted majority": (majority, votes[majority] / len(said)),
            "most self-consistent agent": (steady.best, steady.consistency),
            ALL_KNOWING: (all_knowing(agents, said), 1.0),
        }
        for name, (answer, sure) in answers.items():
            score.right[name].append(answer == truth)
            score.sure[name].append(sure)
    return score


def lead(score: Score, baseline: str) -> tuple[float, float]:
    """(mean, half width of the 95% interval) of ours minus the baseline, paired by question."""
    apart = [float(a) - float(b) for a, b in zip(score.right["ours"], score.right[baseline], strict=True)]
    mean = math.fsum(apart) / len(apart)
    variance = math.fsum((x - mean) ** 2 for x in apart) / max(1, len(apart) - 1)
    return mean, 1.96 * math.sqrt(variance / len(apart))


def joined(scores: Sequence[Score]) -> Score:
    """Several crews' records as one."""
    names = scores[0].right
    return Score({n: [x for s in scores for x in s.right[n]] for n in names}, {n: [x for s in scores for x in s.sure[n]] for n in names})


def calibration_error(right: Sequence[bool], sure: Sequence[float]) -> float:
    """Expected calibration error over `BINS` bins of equal width (Guo et al. 2017)."""
    total = 0.0
    for low, high in pairwise(index / BINS for index in range(BINS + 1)):
        inside = [(r, s) for r, s in zip(right, sure, strict=True) if low < s <= high or (low == 0.0 == s)]
        if inside:
            total += abs(math.fsum(float(r) - s for r, s in inside))
    return total / len(right)


def risk_coverage(right: Sequence[bool], sure: Sequence[float]) -> float:
    """Area under the risk-coverage curve (Geifman and El-Yaniv 2017): mean error over all coverages, surest first; smaller is better.

    Answers of equal certainty count as in their mean order, so their place in the record does not matter.
    """
    order = sorted(zip(sure, right, strict=True), key=lambda pair: -pair[0])
    count, wrong, risks = 0, 0.0, []
    for _, tied in groupby(order, key=lambda pair: pair[0]):
        same = [not correct for _, correct in tied]
        share = sum(same) / len(same)
        for _ in same:
            count, wrong = count + 1, wrong + share
            risks.append(wrong / count)
    return math.fsum(risks) / len(risks)
