"""Accuracy by answers, calibration, abstention and the estimate shown to the user, beside scikit-learn baselines on the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, cast

import numpy as np

from node.label.teacher import BATCH
from tests.bench.label_data import (
    DOMAINS,
    LIMITS,
    REPORTED,
    STOPS,
    Array,
    Shelf,
    Split,
    Stage,
    calibration_error,
    calibration_error_debiased,
    calibration_floor,
    taught,
)
from tests.bench.report import Bar, Report

BASELINES = ("TF-IDF + LR, margin", "MiniLM + LR, margin", "k-means, MiniLM LR + label spreading, margin")
START = 24
"""Rows that a baseline begins with."""
GAINED = 0.02
"""Accuracy that abstaining on a tenth of the rows must bring, wherever so much is left to gain: at .982 and above it is not."""
STRANGE_SHARE = 100
"""Out-of-scope rows put into the pile where the cut-off of "none of these" is measured; the others stay new."""


@dataclass(slots=True)
class Course:
    """What one data set showed, all seeds."""

    hits: dict[str, dict[int, list[Array]]] = field(default_factory=dict)
    honesty: dict[int, list[dict[str, float]]] = field(default_factory=lambda: {stop: [] for stop in STOPS})

    def hit(self, who: str, stop: int, hits: Array) -> None:
        self.hits.setdefault(who, {stop: [] for stop in STOPS}).setdefault(stop, []).append(hits)

    def at(self, who: str, stop: int) -> float:
        return float(np.mean([hit.mean() for hit in self.hits[who][stop]]))

    def means(self, stop: int) -> dict[str, float]:
        found = self.honesty[stop]
        return {key: round(mean(one[key] for one in found), 4) for key in found[0]}


def measure(shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report, *, baselines: bool, choice: str = "") -> None:
    """The curve with its bars (`baselines`), and honesty with its bars; of all sets, or of the one named `choice`."""
    for name in [choice] if choice else REPORTED:
        course = run(shelf, name, seeds, tell, BASELINES if baselines else ())
        if baselines:
            _curve(name, course, report)
        _honest(name, course, report)


def run(shelf: Shelf, name: str, seeds: int, tell: Callable[[str], None], baselines: Sequence[str]) -> Course:
    """One data set, all seeds, beside these baselines."""
    train, test, strangers = shelf.load(f"{name}_train"), shelf.load(f"{name}_test"), shelf.strangers(name)
    course = Course()
    for seed in range(seeds):
        tell(f"{name}, seed {seed + 1} of {seeds}")
        for stage in taught(train, seed):
            _note(stage, train, test, strangers, course)
        for baseline in baselines:
            _baseline(baseline, train, test, seed, course)
    return course


def measure_domains(shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report, choice: str = "") -> None:
    """Eight development sets, some of them hard, beside the strong baseline: what a newcomer's own pile may be like. No bars."""
    for name in [choice] if choice else DOMAINS:
        course = run(shelf, name, seeds, tell, BASELINES[-1:])
        for stop in STOPS:
            interval = _interval(course.hits["moot"][stop], course.hits[BASELINES[-1]][stop])
            report.results[f"{name}: {stop} answers"] = course.means(stop) | {
                "strong_baseline": round(course.at(BASELINES[-1], stop), 4),
                "gain_low": interval[0],
                "gain_high": interval[1],
            }


def cut_off(shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """How many strangers the cut-off catches, and how many rows that belong it turns away, with strangers in the pile."""
    for name in REPORTED[1:]:
        tell(f"none of these in the pile of {name}")
        strangers = shelf.strangers(name)
        train, test = shelf.load(f"{name}_train").beside(strangers.take(np.arange(STRANGE_SHARE))), shelf.load(f"{name}_test")
        new = strangers.take(np.arange(STRANGE_SHARE, len(strangers.texts)))
        found: dict[int, list[list[float]]] = {48: [], 96: []}
        for seed in range(seeds):
            for stage in taught(train, seed, (48, 96)):
                pile = stage.panel.judge_pile().strangeness
                limit = stage.panel.stranger(pile)
                fresh = [stage.panel.judge(part.texts, part.vectors).strangeness > limit for part in (new, test)]
                found[stage.answers].append([
                    float((pile > limit)[train.gold == ""].mean()), float((pile > limit)[train.gold != ""].mean()),
                    float(fresh[0].mean()), float(fresh[1].mean()),
                ])  # fmt: skip
        keys = ("strangers in the pile caught", "own rows turned away", "new strangers caught", "new own rows turned away")
        report.results[f"{name}: cut-off with {STRANGE_SHARE} strangers in the pile"] = {
            str(stop): dict(zip(keys, np.mean(rows, axis=0).round(3).tolist(), strict=True)) for stop, rows in found.items()
        }


def _note(stage: Stage, train: Split, test: Split, strangers: Split, course: Course) -> None:
    from sklearn.metrics import roc_auc_score

    verdict, other = (stage.panel.judge(part.texts, part.vectors) for part in (test, strangers))
    for who, votes in [("moot", verdict.shares), *zip(stage.panel.names, verdict.votes, strict=True)]:
        course.hit(who, stage.answers, stage.names[votes.argmax(1)] == test.gold)
    hit, sure = stage.names[verdict.shares.argmax(1)] == test.gold, verdict.shares.max(1)
    kept = np.argsort(-sure)[: int(0.9 * len(sure))]
    outside = [0] * len(sure) + [1] * len(other.strangeness)
    true = stage.true(train)
    estimate = stage.panel.estimate()
    assert estimate is not None
    course.honesty[stage.answers].append({
        "accuracy": float(hit.mean()),
        "selective_gain": float(hit[kept].mean() - hit.mean()),
        "selective_gain_possible": float(min(1.0, hit.mean() / 0.9) - hit.mean()),
        "ece": calibration_error(sure, hit),
        "ece_of_a_perfect_one": calibration_floor(sure),
        "calibration_debiased": calibration_error_debiased(sure, hit),
        "confidence_minus_accuracy": float(sure.mean() - hit.mean()),
        "auroc": float(roc_auc_score(outside, np.concatenate([verdict.strangeness, other.strangeness]))),
        "auroc_largest_probability": float(roc_auc_score(outside, -np.concatenate([sure, other.shares.max(1)]))),
        "estimate_minus_truth": estimate.accuracy - true,
        "estimate_off": abs(estimate.accuracy - true),
        "interval_holds_truth": float(estimate.low <= true <= estimate.high),
        "interval_width": estimate.high - estimate.low,
    })  # fmt: skip


def _baseline(kind: str, train: Split, test: Split, seed: int, course: Course) -> None:
    """scikit-learn with its usual settings, asked in batches of the same size."""
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion
    from sklearn.semi_supervised import LabelSpreading

    pile, fresh = cast(Any, train.vectors), cast(Any, test.vectors)
    if kind.startswith("TF-IDF"):
        union = FeatureUnion([
            ("words", TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))),
            ("characters", TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5))),
        ])  # fmt: skip
        pile, fresh = union.fit_transform(train.texts), union.transform(test.texts)
    if kind.startswith("k-means"):
        distance = KMeans(START, n_init=10, random_state=seed).fit(train.vectors).transform(train.vectors)
        known = list(dict.fromkeys(distance.argmin(0).tolist()))
    else:
        known = random.Random(seed).sample(range(len(train.texts)), START)
    while True:
        model = LogisticRegression(C=10, max_iter=1_000).fit(pile[known], train.gold[known])
        shares, votes = model.predict_proba(pile), model.predict_proba(fresh)
        if kind.startswith("k-means"):
            targets = np.full(len(train.texts), -1)
            targets[known] = np.searchsorted(model.classes_, train.gold[known])
            with np.errstate(invalid="ignore"):
                spread = LabelSpreading(kernel="knn", n_neighbors=15, alpha=0.2, max_iter=100).fit(train.vectors, targets)
                shares = (shares + np.nan_to_num(spread.label_distributions_)) / 2
                votes = (votes + np.nan_to_num(spread.predict_proba(test.vectors))) / 2
        if len(known) in STOPS:
            course.hit(kind, len(known), model.classes_[votes.argmax(1)] == test.gold)
        if len(known) >= STOPS[-1]:
            return
        ranked = np.sort(shares, axis=1)
        margin = ranked[:, -1] - ranked[:, -2]
        margin[known] = 9
        count = min(BATCH, min(stop for stop in STOPS if stop > len(known)) - len(known))
        known += np.argsort(margin)[:count].tolist()


def _curve(name: str, course: Course, report: Report) -> None:
    strong = BASELINES[-1]
    for who in course.hits:
        report.results[f"{name}: {who}"] = {str(stop): round(course.at(who, stop), 4) for stop in STOPS}
    report.results[f"{name}: 95% interval of moot minus strong baseline"] = {
        str(stop): _interval(course.hits["moot"][stop], course.hits[strong][stop]) for stop in STOPS
    }
    if name == "banking12":
        report.bars += [
            Bar(f"accuracy at {stop} answers", course.at("moot", stop), ">=", LIMITS[stop], course.at(strong, stop)) for stop in STOPS
        ]


def _honest(name: str, course: Course, report: Report) -> None:
    means = {stop: course.means(stop) for stop in STOPS}
    report.results[f"{name}: honesty"] = {str(stop): means[stop] for stop in STOPS}
    report.bars += [Bar(f"{name}: expected calibration error, {stop} answers", means[stop]["ece"], "<=", 0.04) for stop in STOPS]
    for stop in STOPS:
        gained, possible = means[stop]["selective_gain"], means[stop]["selective_gain_possible"]
        what = f"{name}: accuracy gained at 90% coverage, {stop} answers"
        if possible >= GAINED:
            report.bars.append(Bar(f"{what} (baseline: all there is to gain)", gained, ">=", GAINED, possible))
        else:
            report.results[f"{what}: not judged, less is left"] = {"gained": gained, "to gain": possible}
    gains, left = (mean(means[stop][key] for stop in STOPS) for key in ("selective_gain", "selective_gain_possible"))
    report.bars.append(
        Bar(f"{name}: accuracy gained at 90% coverage, mean of the four (baseline: all there is to gain)", gains, ">=", GAINED, left)
    )
    worst = min(STOPS, key=lambda stop: means[stop]["auroc"])
    report.bars.append(
        Bar(f"{name}: AUROC of none of these, worst of four", means[worst]["auroc"], ">=", 0.92, means[worst]["auroc_largest_probability"])
    )


def _interval(ours: Sequence[Array], theirs: Sequence[Array]) -> list[float]:
    """95% interval of the difference, bootstrapped over test rows, paired, all seeds together."""
    gain = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    rng = np.random.default_rng(0)
    draws = [gain[rng.integers(0, len(gain), len(gain))].mean() for _ in range(2_000)]
    return [round(float(value), 4) for value in np.quantile(draws, [0.025, 0.975])]
