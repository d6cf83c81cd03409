"""The council's promises as numbers: right answers, believable confidence, memory, overhead.

consensus.py, scripted.py   scripted agents; exact for a seed
recall.py                   semantic memory over simulated nodes; exact for a seed
overhead.py                 real processes and sockets; as good as the machine is quiet
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench import consensus, overhead, recall
from tests.bench.report import Bar, Report

LIARS = {0.3: 2.0, 0.4: 5.0}
"""Share of colluding liars -> points that the answer may lose (the issue's limits)."""
CREWS = 3


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """`seeds` times `CREWS` crews of each size."""
    report = Report()
    _right(seeds * CREWS, tell, report)
    tell("5,000 memories on 20 simulated nodes")
    runs = [recall.measure_recall(seed) for seed in range(1, seeds + 1)]
    report.results["memory"] = runs
    report.bars += [
        Bar("recall@3 of paraphrases", min(run["recall@3"] for run in runs), ">=", 0.9),
        Bar("DHT look-ups a query", max(run["look-ups a query"] for run in runs), "<=", 12),
    ]
    _cost(tell, report)
    return report


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
    trust: dict[float, float] = {}
    lost: dict[tuple[float, bool], dict[int, float]] = {}
    for size in consensus.SIZES:
        tell(f"{size} scripted agents")
        honest = consensus.joined([consensus.play(size, 0, seed) for seed in range(crews)])
        row: dict[str, Any] = {name: round(honest.share(name), 4) for name in honest.right}
        areas = {name: consensus.risk_coverage(honest.right[name], honest.sure[name]) for name in honest.right}
        for baseline in consensus.BASELINES:
            mean, width = consensus.lead(honest, baseline)
            row[f"lead over {baseline}"] = f"{mean:+.4f} +- {width:.4f}"
            worst_lead = min(worst_lead, mean + width)
            curve = min(curve, areas[baseline] - areas["ours"])
        row["calibration error"] = round(consensus.calibration_error(honest.right["ours"], honest.sure["ours"]), 4)
        row["area under risk-coverage"] = {name: round(area, 4) for name, area in areas.items()}
        error = max(error, row["calibration error"])
        for share in LIARS:
            left = consensus.joined([consensus.play(size, round(size * share), seed, removed=True) for seed in range(crews)])
            row[f"ours once {share:.0%} liars are removed"] = round(left.share("ours"), 4)
            for recognises in (False, True):
                lied = consensus.joined([consensus.play(size, round(size * share), seed, recognises=recognises) for seed in range(crews)])
                points = 100 * (honest.share("ours") - lied.share("ours"))
                lost.setdefault((share, recognises), {})[size] = points
                if not recognises:
                    trust[share] = max(trust.get(share, -100.0), 100 * (left.share("ours") - lied.share("ours")))
                kind = "liars that know half of the canaries" if recognises else "liars"
                row[f"{share:.0%} {kind}"] = {
                    "ours": round(lied.share("ours"), 4),
                    "majority": round(lied.share("unweighted majority"), 4),
                    "points lost": round(points, 2),
                }
        results[f"n={size}"] = row
    report.results["right answers"] = results
    report.bars += [
        # upper end of the 95% interval of (ours - baseline), at the worst n and baseline
        Bar("lead over every baseline at every n (interval's upper end)", worst_lead, ">=", 0.0),
        Bar("expected calibration error, worst n", error, "<=", 0.05),
        Bar("baseline's area under risk-coverage minus ours, worst n", curve, ">=", 0.0),
    ]
    for share, limit in LIARS.items():
        by_size = lost[(share, False)]
        for size in (15, 25):
            report.bars.append(Bar(f"points lost to {share:.0%} liars, n={size}", by_size[size], "<=", limit))
        report.bars.append(Bar(f"points below the same crew without its {share:.0%} liars, worst n", trust[share], "<=", limit))
        # a crew of three in which one lies has two honest agents: what it loses is mostly that agent, not trust
        report.bars.append(Bar(f"points lost to {share:.0%} liars, worst n", max(by_size.values()), "<=", limit))
