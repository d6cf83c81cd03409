"""Part `honesty`: what the model's choice of moves is worth, beside chance, a bandit, and the same model told about another cell; and what
neighbours are worth, beside nobody and everybody.

Every arm runs twice on each seed: with equal evaluations, and with equal wall time on the same core. `MOOT_SEEDS` picks seeds (`1-10`),
`MOOT_ARMS` arms, `MOOT_MEASURES` one of the two (`evaluations`, `wall`); with `MOOT_RESULTS` a seed at a time can be measured and the
table is made of all there are.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cli.client import Client
from node.cells.traces import Trace, information, traces
from tests.bench.packing_daemon import KNOWN, Ledger, Params, daemon, load, numbers, solve
from tests.bench.report import Report

CIRCLES = 21
SAME = 1e-11
"""Gaps that differ by less are equal."""
COMMON: Params = {"size": 3, "n": CIRCLES, "iterations": 3, "pictures": "no"}
TURNS = 2
SECONDS = 8.0
"""Wall time of a run; one iteration is the minimum there, so that the time rules and not the count."""
ARMS: dict[str, tuple[str, Params]] = {
    "random": ("uniform random", {"chooser": "random"}),
    "bandit": ("UCB1 bandit", {"chooser": "bandit"}),
    "brain": ("Gemma 270M", {"chooser": "brain", "brain": "gemma"}),
    "shuffled": ("Gemma 270M, features of another cell", {"chooser": "shuffled", "brain": "gemma"}),
    "isolated": ("random, isolated cells", {"chooser": "random", "topology": "isolated"}),
    "global": ("random, everybody hears everybody", {"chooser": "random", "topology": "global"}),
}
MEASURES: dict[str, Params] = {"evaluations": {"turns": TURNS}, "wall": {"turns": 1, "seconds": SECONDS, "iterations": 1}}
Tell = Callable[[str], None]
Rows = dict[str, dict[str, Any]]


def honesty(seeds: int, tell: Tell, report: Report) -> None:
    """Measure what is missing, then make the table of everything measured."""
    ledger = Ledger("honesty")
    wanted = numbers("MOOT_SEEDS", f"1-{seeds}")
    arms = os.environ.get("MOOT_ARMS", ",".join(ARMS)).split(",")
    measures = os.environ.get("MOOT_MEASURES", ",".join(MEASURES)).split(",")
    missing = [
        (seed, arm, measure) for seed in wanted for measure in measures for arm in arms if f"{seed} {arm} {measure}" not in ledger.rows
    ]
    if missing:
        with daemon("--brain", "gemma") as (client, _):
            solve(client, "circle_packing", {**COMMON, "n": 5, **ARMS["brain"][1]})  # everything is compiled before the clock runs
            for seed, arm, measure in missing:
                tell(f"{arm}, seed {seed}, equal {measure}")
                ledger.put(f"{seed} {arm} {measure}", _one(client, seed, arm, measure))
    done = sorted({int(key.split()[0]) for key in ledger.rows})
    report.results["honesty"] = {
        "circles": CIRCLES, "seeds": done, "table": table(ledger.rows, done),
        "information": {arm: messages_and_moves(ledger.rows, arm) for arm in ("brain", "shuffled")},
    }  # fmt: skip


def _one(client: Client, seed: int, arm: str, measure: str) -> dict[str, Any]:
    params: Params = {**COMMON, "seed": seed, **ARMS[arm][1], **MEASURES[measure]}
    run, seconds = solve(client, "circle_packing", params)
    if run.state != "done":
        raise RuntimeError(f"{arm}, seed {seed}: {run.detail}")
    told = [[iteration, trace.heard, trace.moves] for iteration, trace in traces(run.iterations)]
    best = max(one.best for one in run.iterations)
    return {"gap": KNOWN[CIRCLES] - best, "seconds": round(seconds, 2), "tried": run.tried, "told": told, "load": load()}


def table(rows: Rows, seeds: Sequence[int]) -> list[str]:
    """Markdown. The interval is Student's, 95%, of the paired difference of gaps from uniform random."""
    lines = [
        "| equal | moves chosen by | seeds | mean gap | median gap | less uniform random's, 95% | better, equal, worse | proposals "
        "| seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for measure, (arm, (name, _)) in itertools.product(MEASURES, ARMS.items()):
        pairs = [
            (row, other)
            for seed in seeds
            if (row := rows.get(f"{seed} {arm} {measure}")) and (other := rows.get(f"{seed} random {measure}"))
        ]
        if not pairs:
            continue
        gaps = [float(row["gap"]) for row, _ in pairs]
        differences = [float(row["gap"]) - float(other["gap"]) for row, other in pairs]
        better, worse = sum(one < -SAME for one in differences), sum(one > SAME for one in differences)
        against = "" if arm == "random" else f"{statistics.fmean(differences):+.1e} ± {_half_width(differences):.1e}"
        counts = "" if arm == "random" else f"{better}, {len(pairs) - better - worse}, {worse}"
        tried, seconds = (statistics.fmean(float(row[what]) for row, _ in pairs) for what in ("tried", "seconds"))
        lines.append(
            f"| {measure} | {name} | {len(pairs)} | {statistics.fmean(gaps):.1e} | {statistics.median(gaps):.1e} | {against} | {counts} | "
            f"{tried:.0f} | {seconds:.1f} |"
        )
    return lines


def _half_width(differences: Sequence[float]) -> float:
    """Of the 95% interval of a mean; NaN for one pair."""
    from scipy.stats import t

    count = len(differences)
    return float(t.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count) if count > 1 else math.nan


def messages_and_moves(rows: Rows, arm: str) -> Any:
    """The mutual information of messages and moves over all seeds with equal evaluations, messages dealt within seed and iteration."""
    found = []
    for key, row in rows.items():
        seed, name, measure = key.split()
        if name == arm and measure == "evaluations":
            found += [(1_000 * int(seed) + iteration, Trace(heard=heard, moves=moves)) for iteration, heard, moves in row["told"]]
    known = information(found, random.Random(1))
    return None if known is None else msgspec.to_builtins(known)
