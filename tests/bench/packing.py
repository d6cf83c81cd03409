"""Circle packing on the grid, through the daemon: best-known radii, who chooses the moves, and what distribution costs.

`MOOT_PACKING` picks parts, comma-separated: radii, large, sum, honesty, spread, wide (default: radii).
Best-known radii are read here and nowhere in the search; a run is stopped once it has reached the target, so times are times to target.
"""

from __future__ import annotations

import csv
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from cli import daemons
from cli.client import Client
from node.runtime import SystemRuntime
from protocol.api import RunInfo, RunRequest
from tests.bench.report import Bar, Report

KNOWN = {
    int(row["n"]): float(row["radius"])
    for row in csv.DictReader(
        line for line in (Path(__file__).parent.parent / "data" / "packing_radii.csv").read_text().splitlines() if line[0] != "#"
    )
}
BEST_SUM = 2.635983
EXACT = 1e-9
OVER = ("done", "failed", "stopped")
Params = dict[str, int | float | str]
Tell = Callable[[str], None]


def measure(seeds: int, tell: Tell) -> Report:
    report = Report()
    parts = {"radii": radii, "large": large, "sum": unequal, "honesty": honesty, "spread": spread, "wide": wide}
    for name in os.environ.get("MOOT_PACKING", "radii").split(","):
        parts[name](seeds, tell, report)
    return report


@contextmanager
def daemon(*flags: str) -> Iterator[tuple[Client, psutil.Process]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        usual = ["--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--name", path.name]
        if "--brain" not in flags:
            usual += ["--brain", "none"]
        starting = daemons.start(path, [*usual, *flags])
        ready = starting.ready()
        try:
            yield Client(ready.api, _admin(path)), psutil.Process(starting.process.pid)
        finally:
            daemons.stop(path)


def _admin(path: Path) -> str:
    from cli.target import read_api_file

    return read_api_file(path).admin_token


def solve(client: Client, task: str, params: Params, target: float = math.inf) -> tuple[RunInfo, float, float]:
    """The run, its wall seconds, and the CPU seconds of this machine meanwhile (everybody's: an upper bound); stopped at the target."""
    clock = SystemRuntime().monotonic
    began, busy = clock(), psutil.cpu_times()
    reached = 0.0
    with client.events() as happened:
        run = client.post("/v1/runs", RunInfo, RunRequest(task, params))
        path = f"/v1/runs/{run.run_id}"
        while run.state not in OVER:
            next(happened)
            run = client.get(path, RunInfo)
            if run.state == "running" and not reached and run.best is not None and run.best >= target:
                reached = clock() - began
                client.post(path + "/stop", RunInfo)
    after = psutil.cpu_times()
    return run, reached or clock() - began, (after.user + after.nice) - (busy.user + busy.nice)


def radii(seeds: int, tell: Tell, report: Report) -> None:
    """n up to 26 with 60 s, up to 30 with 300 s."""
    rows: dict[str, Any] = {}
    with daemon() as (client, _):
        for count in range(2, 31):
            limit = 60.0 if count <= 26 else 300.0
            tell(f"n = {count}")
            params: Params = {"size": 5, "iterations": 24, "seconds": limit, "n": count, "pictures": "no"}
            run, seconds, cpu = solve(client, "circle_packing", params, KNOWN[count] - EXACT)
            gap = KNOWN[count] - (run.best or 0.0)
            rows[str(count)] = {"gap": gap, "seconds": round(seconds, 2), "machine_cpu_s": round(cpu, 1), "tried": run.tried}
    report.results["equal"] = rows
    report.bars.append(Bar("worst gap, n <= 26, 60 s", max(rows[str(n)]["gap"] for n in range(2, 27)), "<=", EXACT))
    report.bars.append(Bar("slowest n <= 26, s", max(rows[str(n)]["seconds"] for n in range(2, 27)), "<=", 60.0))
    report.bars.append(Bar("worst gap, n = 27 to 30, 300 s", max(rows[str(n)]["gap"] for n in range(27, 31)), "<=", EXACT))


def large(seeds: int, tell: Tell, report: Report) -> None:
    """n = 31 to 50 with 300 s, to within 0.2%."""
    rows: dict[str, Any] = {}
    with daemon() as (client, _):
        for count in range(31, 51):
            tell(f"n = {count}")
            params: Params = {"size": 5, "iterations": 24, "seconds": 300.0, "n": count, "pictures": "no"}
            run, seconds, cpu = solve(client, "circle_packing", params, KNOWN[count] * 0.998)
            gap = 100.0 * (1.0 - (run.best or 0.0) / KNOWN[count])
            rows[str(count)] = {"gap_percent": gap, "seconds": round(seconds, 2), "machine_cpu_s": round(cpu, 1), "tried": run.tried}
    report.results["large"] = rows
    report.bars.append(Bar("worst gap, n = 31 to 50, percent", max(row["gap_percent"] for row in rows.values()), "<=", 0.2))


def unequal(seeds: int, tell: Tell, report: Report) -> None:
    tell("sum of radii, n = 26")
    seconds = float(os.environ.get("MOOT_PACKING_SUM_S", "600"))
    with daemon() as (client, _):
        run, passed, cpu = solve(client, "circle_packing_sum", {"size": 5, "iterations": 24, "seconds": seconds, "n": 26}, 2.6359830)
    report.results["sum"] = {"best": run.best, "known": BEST_SUM, "seconds": passed, "machine_cpu_s": cpu, "tried": run.tried}
    report.bars.append(Bar("sum of radii, n = 26", run.best or 0.0, ">=", BEST_SUM))


T95 = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t for a 95% interval of a mean of so many pairs."""
ARMS: dict[str, Params] = {
    "scripted": {"chooser": "scripted"},
    "random": {"chooser": "random"},
    "bandit": {"chooser": "bandit"},
    "brain": {"chooser": "brain", "brain": "gemma"},
    "random as long": {"chooser": "random"},
    "shuffled": {"chooser": "shuffled", "brain": "gemma"},
    "isolated": {"chooser": "random", "topology": "isolated"},
    "global": {"chooser": "random", "topology": "global"},
}


def honesty(seeds: int, tell: Tell, report: Report) -> None:
    """Every arm on paired seeds at equal evaluations; `random as long` has the wall time that the brain took instead."""
    count, size, turns, iterations = 28, 3, 4, 6
    arms = os.environ.get("MOOT_PACKING_ARMS", ",".join(ARMS)).split(",")
    brain = any("brain" in ARMS[arm] for arm in arms)
    found: dict[str, list[tuple[float, float, int]]] = {arm: [] for arm in arms}
    with daemon(*(("--brain", "gemma") if brain else ())) as (client, _):
        for seed in range(1, seeds + 1):
            for arm in arms:
                tell(f"{arm}, seed {seed}")
                params: Params = {
                    "size": size,
                    "iterations": iterations,
                    "turns": turns,
                    "n": count,
                    "seed": seed,
                    "pictures": "no",
                    **ARMS[arm],
                }
                if arm == "random as long":
                    params |= {"seconds": found["brain"][-1][1], "turns": 1}
                run, seconds, _ = solve(client, "circle_packing", params)
                if run.state != "done":
                    raise RuntimeError(f"{arm}: {run.detail}")
                top = max(one.best for one in run.iterations)
                found[arm].append((KNOWN[count] - top, seconds, run.tried))
    table = {}
    for arm in arms:
        gaps = [gap for gap, _, _ in found[arm]]
        paired = [gap - other for gap, (other, _, _) in zip(gaps, found["random"], strict=True)]
        spread_ = T95[len(paired)] * statistics.stdev(paired) / math.sqrt(len(paired)) if len(paired) in T95 else math.nan
        table[arm] = {
            "mean_gap": statistics.fmean(gaps),
            "median_gap": statistics.median(gaps),
            "against_random": statistics.fmean(paired),
            "interval": spread_,
            "seconds": statistics.fmean(seconds for _, seconds, _ in found[arm]),
            "tried": statistics.fmean(tried for _, _, tried in found[arm]),
            "gaps": gaps,
        }
    report.results["honesty"] = {"n": count, "size": size, "iterations": iterations, "turns": turns, "seeds": seeds, "arms": table}


def spread(seeds: int, tell: Tell, report: Report) -> None:
    """The same run on one daemon and on four, and messages per cell and iteration."""
    rows: dict[str, Any] = {}
    with ExitStack() as stack:
        first, _ = stack.enter_context(daemon("--open"))
        address = first.get("/v1/node", dict[str, Any])["address"]
        for nodes in (1, 4):
            if nodes == 4:
                for _ in range(3):
                    stack.enter_context(daemon("--open", "--bootstrap", address))
                _meet(first, 4)
            for size in (3, 5, 10, 20, 32):
                tell(f"{nodes} nodes, grid {size}")
                before = _sent(first)
                params: Params = {"size": size, "iterations": 5, "seed": 1}
                run, seconds, _ = solve(first, "colouring", params)
                sent = _sent(first) - before
                last = run.iterations[-1]
                rows[f"{nodes} nodes, {size} x {size}"] = {
                    "seconds": round(seconds, 2), "mean": last.mean, "cells": len(last.cells), "detail": run.detail,
                    "hosts": len({cell.node_id for cell in last.cells}), "frames_here_per_cell_iteration": sent / (5 * size * size),
                }  # fmt: skip
            params = {"size": 5, "iterations": 24, "seconds": 20.0, "n": 20, "seed": 1}
            tell(f"{nodes} nodes, n = 20")
            run, seconds, _ = solve(first, "circle_packing", params, KNOWN[20] - EXACT)
            rows[f"{nodes} nodes, n = 20"] = {"gap": KNOWN[20] - (run.best or 0.0), "seconds": seconds}
    report.results["spread"] = rows


def _meet(client: Client, count: int) -> None:
    with client.events() as happened:
        while len(client.get("/v1/peers", dict[str, Any])["members"]) < count:
            next(happened)


def _sent(client: Client) -> float:
    text = client.download("/metrics").decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("moot_cell_messages"))


def wide(seeds: int, tell: Tell, report: Report) -> None:
    """32 x 32 cells, every move chosen by the 270M: one iteration."""
    tell("1,024 cells with Gemma")
    with daemon("--brain", "gemma") as (client, process):
        run, seconds, _ = solve(client, "circle_packing", {"size": 32, "iterations": 1, "n": 5, "chooser": "brain", "brain": "gemma"})
        peak = max(
            int(line.split()[1]) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
        )
    tokens = sum(len(cell.note) for one in run.iterations for cell in one.cells) / 4.0
    report.results["wide"] = {
        "state": run.state, "detail": run.detail, "cells": len(run.iterations[-1].cells) if run.iterations else 0,
        "seconds": seconds, "peak_mb": peak / 1024, "prompt_tokens_estimate": tokens,
    }  # fmt: skip
