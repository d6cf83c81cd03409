"""Parts `radii`, `large` and `sum`: how near the grid comes to the best packings known, and how fast.

Best-known radii are read here and nowhere in the search; a run is stopped once it has reached the target, so times are times to target,
start of the run included. `MOOT_N` picks counts (`2-10,15`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.bench.packing_daemon import KNOWN, Ledger, Params, daemon, load, numbers, solve
from tests.bench.report import Bar, Report

BEST_SUM = 2.635983
EXACT = 1e-9
NEAR = 0.002
Tell = Callable[[str], None]


def radii(seeds: int, tell: Tell, report: Report) -> None:
    """n up to 26 with 60 s, up to 30 with 300 s, to 1e-9."""
    counts = numbers("MOOT_N", "2-30")
    rows = _reach("radii", counts, lambda count: KNOWN[count] - EXACT, lambda count: 60.0 if count <= 26 else 300.0, tell)
    report.results["equal"] = {str(count): rows[count] for count in counts}
    for name, limit, some in (("n <= 26", 60.0, range(2, 27)), ("n = 27 to 30", 300.0, range(27, 31))):
        here = [rows[count] for count in counts if count in some]
        if here:
            report.bars.append(Bar(f"worst gap, {name}", max(row["gap"] for row in here), "<=", EXACT))
            report.bars.append(Bar(f"slowest, {name}, s", max(row["seconds"] for row in here), "<=", limit))


def large(seeds: int, tell: Tell, report: Report) -> None:
    """n = 31 to 50 with 300 s, to within 0.2%."""
    counts = numbers("MOOT_N", "31-50")
    rows = _reach("large", counts, lambda count: KNOWN[count] * (1.0 - NEAR), lambda count: 300.0, tell)
    report.results["large"] = {str(count): rows[count] for count in counts}
    report.bars.append(Bar("worst gap, n = 31 to 50, percent", max(rows[count]["gap_percent"] for count in counts), "<=", 100.0 * NEAR))
    report.bars.append(Bar("slowest, n = 31 to 50, s", max(rows[count]["seconds"] for count in counts), "<=", 300.0))


def _reach(
    part: str, counts: list[int], target: Callable[[int], float], limit: Callable[[int], float], tell: Tell
) -> dict[int, dict[str, float]]:
    ledger = Ledger(part)
    missing = [count for count in counts if str(count) not in ledger.rows]
    if missing:
        with daemon() as (client, _):
            for count in missing:
                tell(f"n = {count}")
                params: Params = {"size": 5, "iterations": 24, "seconds": limit(count), "n": count, "pictures": "no"}
                run, seconds = solve(client, "circle_packing", params, target(count))
                gap = KNOWN[count] - (run.best or 0.0)
                percent = 100.0 * gap / KNOWN[count]
                row = {"gap": gap, "gap_percent": percent, "seconds": round(seconds, 2), "tried": run.tried, "load": load()}
                ledger.put(str(count), row)
    return {count: ledger.rows[str(count)] for count in counts}


def unequal(seeds: int, tell: Tell, report: Report) -> None:
    """n = 26 circles of any radii; `MOOT_PACKING_SUM_S` seconds, ten minutes unless told."""
    tell("sum of radii, n = 26")
    seconds = float(os.environ.get("MOOT_PACKING_SUM_S", "600"))
    with daemon() as (client, _):
        params: Params = {"size": 5, "iterations": 24, "seconds": seconds, "n": 26, "pictures": "no"}
        run, passed = solve(client, "circle_packing_sum", params, BEST_SUM)
    report.results["sum"] = {"best": run.best, "known": BEST_SUM, "seconds": passed, "tried": run.tried, "load": load()}
    report.bars.append(Bar("sum of radii, n = 26", run.best or 0.0, ">=", BEST_SUM))
