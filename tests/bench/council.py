"""The council's promises as numbers: right answers, believable confidence, memory, overhead.

consensus.py, scripted.py   scripted agents; exact for a seed
sentences.py                real answers of the 270M; needs its weights, so it runs alone
recall.py                   semantic memory over simulated nodes, with each embedder; exact for a seed up to rounding
overhead.py                 real processes and sockets; as good as the machine is quiet

`MOOT_BENCH=answers,memory,paraphrases,overhead` picks parts; without it all are run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.bench import consensus, overhead, recall
from tests.bench.report import Bar, Report

LIARS = {0.3: 2.0, 0.4: 5.0}
"""Share of colluding liars -> points that the answer may lose (the issue's limits)."""
CREWS = 3
ATTACKS: dict[str, dict[str, Any]] = {
    "liars": {},
    "liars that know half of the canaries": {"recognises": True},
    "liars on canaries, honest on questions": {"acts": "reverse"},
    "flawless on canaries, liars on questions": {"acts": "sleeper"},
}


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """`seeds` times `CREWS` crews of each size."""
    report, parts = Report(), os.environ.get("MOOT_BENCH", "answers,memory,paraphrases,overhead").split(",")
    if "answers" in parts:
        _right(seeds * CREWS, tell, report)
    if "memory" in parts:
        _memory(seeds, tell, report)
    if "paraphrases" in parts:
        _paraphrases(seeds, tell, report)
    if "overhead" in parts:
        _cost(tell, report)
    return report


def _memory(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    runs = [recall.measure_recall(recall.made_up, seed, tell) for seed in range(1, seeds + 1)]
    report.results["memory"] = runs
    for embedder in ("words", "minilm"):
        report.bars += [
            Bar(f"recall@3 of paraphrases, {embedder}", min(run[embedder]["recall@3"] for run in runs), ">=", 0.9),
            Bar(f"DHT look-ups a query, {embedder}", max(run[embedder]["look-ups a query"] for run in runs), "<=", 12),
        ]


def _paraphrases(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """What MiniLM is pinned for; no promise stands on it but that it does better than words."""
    runs = [recall.measure_recall(recall.written, seed, tell) for seed in range(1, seeds + 1)]
    report.results["paraphrases"] = runs
    words, minilm = (min(run[name]["recall@3, other words"] for run in runs) for name in ("words", "minilm"))
    report.bars.append(Bar("recall@3 of questions in other words, minilm", minilm, ">=", words, baseline=words))


def _cost(tell: Callable[[str], None], report: Report) -> None:
    tell("16 tiny agents on 8 nodes in 4 processes")
    figures = overhead.measure_overhead()
    report.results["overhead"] = figures
    ours, plain = figures["council"], figures["plain fan-out"]
    report.bars += [
        Bar("consensus p50 ms", ours["p50 ms"], "<=", 20.0, baseline=plain["p50 ms"]),
        Bar("consensus a second through one node", ours["a second"], ">=", 60.0, baseline=plain["a second"]),
        Bar("consensus p50 over a plain HTTP fan-out's", round(ours["p50 ms"] / plain["p50 ms"], 2), "<=", 2.0),
    ]


def _right(crews: int, tell: Callable[[str], None], report: Report) -> None:
    results: dict[str, Any] = {}
    worst_lead, error, curve = 1.0, 0.0, 1.0
    for size in consensus.SIZES:
        tell(f"{size} scripted agents")
        honest = consensus.joined([consensus.play(size, 0, seed) for seed in range(crews)])
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
        for share in LIARS:
            row[f"{share:.0%} of them, so {round(size * share)}"] = _attacked(size, round(size * share), crews, honest)
        results[f"n={size}"] = row
    report.results["right answers"] = results
    report.bars += [
        # upper end of the 95% interval of (ours - baseline), at the worst n and baseline
        Bar("lead over every baseline at every n (interval's upper end)", worst_lead, ">=", 0.0),
        Bar("expected calibration error, worst n", error, "<=", 0.05),
        Bar("baseline's area under risk-coverage minus ours, worst n", curve, ">=", 0.0),
    ]
    for share, limit in LIARS.items():
        _liars(share, limit, results, report)


def _attacked(size: int, liars: int, crews: int, honest: consensus.Score) -> dict[str, Any]:
    """By attack: our answers and the majority's, and what we lost to an all-honest crew; and the same crew once its liars have left."""
    found: dict[str, Any] = {}
    for name, how in ATTACKS.items():
        lied = consensus.joined([consensus.play(size, liars, seed, **how) for seed in range(crews)])
        found[name] = {
            "ours": round(lied.share("ours"), 4),
            "majority": round(lied.share("unweighted majority"), 4),
            "points lost": round(100 * (honest.share("ours") - lied.share("ours")), 2),
        }
        if not how:
            knows = honest.share(consensus.ALL_KNOWING) - lied.share(consensus.ALL_KNOWING)
            found[f"points lost by {consensus.ALL_KNOWING}"] = round(100 * knows, 2)
    left = consensus.joined([consensus.play(size, liars, seed, removed=True) for seed in range(crews)])
    found["ours once they have left"] = round(left.share("ours"), 4)
    return found


def _liars(share: float, limit: float, results: dict[str, Any], report: Report) -> None:
    """The bar as the issue states it, at every n; and against the same crew without its liars."""
    worst = -100.0
    for size in consensus.SIZES:
        found = results[f"n={size}"][f"{share:.0%} of them, so {round(size * share)}"]
        knows = found[f"points lost by {consensus.ALL_KNOWING}"]
        name = f"points lost to {share:.0%} liars, n={size} ({round(size * share)} lie; the all-knowing lose {knows})"
        report.bars.append(Bar(name, found["liars"]["points lost"], "<=", limit))
        worst = max(worst, 100 * (found["ours once they have left"] - found["liars"]["ours"]))
    report.bars.append(Bar(f"points below the same crew without its {share:.0%} liars, worst n", round(worst, 2), "<=", limit))
