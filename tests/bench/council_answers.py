"""Right answers of scripted crews, with and without colluding liars: the figures and bars of part `answers`.

Ten crews of each size unless more are asked for. Exactly 30% (40%) of all agents of ten crews lie: of 5 agents in some crews one, in
some two, and which crews get the additional one is drawn by size, before anything is measured. (Rounding in every crew would make
30% of 5 two of 5, which is 40%.) Liars replace honest agents, so what those knew is lost to anybody: the loss of the all-knowing
rule, which is told every skill and every liar, is each bar's baseline.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench import consensus
from tests.bench.consensus import ALL_KNOWING, Score, joined, play
from tests.bench.report import Bar, Report

CREWS = 10
LIARS = {3: 2.0, 4: 5.0}
"""Liars in ten agents -> points that the answer may lose (the issue's limits)."""
ATTACKS: dict[str, dict[str, Any]] = {
    "liars": {},
    "liars that know half of the canaries": {"recognises": True},
    "liars on canaries, honest on questions": {"acts": "reverse"},
    "flawless on canaries, liars on questions": {"acts": "sleeper"},
}


def measure_answers(seeds: int, sizes: Sequence[int], tell: Callable[[str], None], report: Report) -> None:
    """`seeds` times ten crews of each size."""
    crews, results = range(seeds * CREWS), {}
    worst_lead, error, curve = 1.0, 0.0, 1.0
    for size in sizes:
        tell(f"{size} scripted agents")
        alone = [play(size, 0, seed) for seed in crews]
        honest = joined(alone)
        row: dict[str, Any] = {name: round(honest.share(name), 4) for name in honest.right}
        areas = {name: consensus.risk_coverage(honest.right[name], honest.sure[name]) for name in ("ours", *consensus.BASELINES)}
        for baseline in consensus.BASELINES:
            mean, width = consensus.lead(honest, baseline)
            row[f"lead over {baseline}"] = f"{mean:+.4f} +- {width:.4f}"
            worst_lead = min(worst_lead, mean + width)
            curve = min(curve, areas[baseline] - areas["ours"])
        row["calibration error"] = round(consensus.calibration_error(honest.right["ours"], honest.sure["ours"]), 4)
        row["area under risk-coverage"] = {name: round(area, 4) for name, area in areas.items()}
        error = max(error, row["calibration error"])
        for tenths in LIARS:
            tell(f"{size} scripted agents, {tenths}0% liars")
            row[f"{tenths}0% liars"] = _attacked(size, spread(size, tenths, len(crews)), alone)
        results[f"n={size}"] = row
    report.results["right answers"] = results
    report.bars += [
        # upper end of the 95% interval of (ours - baseline), at the worst n and baseline
        Bar("lead over every baseline at every n (interval's upper end)", worst_lead, ">=", 0.0),
        Bar("expected calibration error, worst n", error, "<=", 0.05),
        Bar("baseline's area under risk-coverage minus ours, worst n", curve, ">=", 0.0),
    ]
    for tenths, limit in LIARS.items():
        report.bars += [_bar(size, tenths, limit, results[f"n={size}"][f"{tenths}0% liars"]) for size in sizes]
        behind = max(results[f"n={size}"][f"{tenths}0% liars"]["points below the same crews once they have left"] for size in sizes)
        report.bars.append(Bar(f"points below the same crews once their {tenths}0% liars have left, worst n", behind, "<=", limit))


def spread(size: int, tenths: int, crews: int) -> list[int]:
    """Liars in each crew: in every ten crews together exactly `tenths` tenths of the agents, in each that share rounded down or up."""
    rng, least, more = random.Random(f"spread {size} {tenths}"), size * tenths // 10, size * tenths % 10
    spread = []
    for _ in range(0, crews, CREWS):
        chosen = rng.sample(range(CREWS), more)
        spread += [least + (crew in chosen) for crew in range(CREWS)]
    return spread


def _attacked(size: int, liars: Sequence[int], alone: Sequence[Score]) -> dict[str, Any]:
    """By attack: our answers and the majority's, and what we lost to all-honest crews; and the same crews once their liars have left."""
    honest = joined(alone)
    found: dict[str, Any] = {"liars in the crews": list(liars)}
    for name, how in ATTACKS.items():
        crews = [play(size, count, seed, **how) for seed, count in enumerate(liars)]
        lied = joined(crews)
        found[name] = {
            "ours": round(lied.share("ours"), 4),
            "majority": round(lied.share("unweighted majority"), 4),
            "points lost": _points(honest, lied, "ours"),
        }
        if not how:
            found[name]["half width of its 95% interval, over crews"] = _width(alone, crews)
            found[name][f"points lost by {ALL_KNOWING}"] = _points(honest, lied, ALL_KNOWING)
    staying = [play(size, count, seed, removed=True) for seed, count in enumerate(liars) if count < size]
    lied = joined([play(size, count, seed) for seed, count in enumerate(liars) if count < size])
    found["ours once they have left"] = round(joined(staying).share("ours"), 4)
    found["points below the same crews once they have left"] = _points(joined(staying), lied, "ours")
    return found


def _points(before: Score, after: Score, name: str) -> float:
    return round(100 * (before.share(name) - after.share(name)), 2)


def _width(before: Sequence[Score], after: Sequence[Score]) -> float:
    """In points: crews differ far more than questions do."""
    lost = [100 * (one.share("ours") - other.share("ours")) for one, other in zip(before, after, strict=True)]
    mean = math.fsum(lost) / len(lost)
    return round(1.96 * math.sqrt(math.fsum((x - mean) ** 2 for x in lost) / (len(lost) - 1) / len(lost)), 2)


def _bar(size: int, tenths: int, limit: float, found: dict[str, Any]) -> Bar:
    """The bar as the issue states it; where the all-knowing rule misses it too, the name says so."""
    knows = found["liars"][f"points lost by {ALL_KNOWING}"]
    counts = sorted(set(found["liars in the crews"]))
    name = f"points lost to {tenths}0% liars, n={size} ({' or '.join(map(str, counts))} lie; baseline: all-knowing)"
    return Bar(name + ("; it misses too" if knows > limit else ""), found["liars"]["points lost"], "<=", limit, baseline=knows)
