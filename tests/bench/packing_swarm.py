"""What distribution costs: the same run on one daemon and on four, a daemon killed in the middle, messages and bytes by grid size.

`MOOT_PACKING_SWARM` picks parts: quality, killed, home, flat (default: all; each takes one to three minutes). Pieces of
them: `MOOT_PACKING_SIZES` (grids of `flat`), `MOOT_PACKING_SECONDS` (length of runs that lose a daemon), `MOOT_PACKING_NODES` (numbers of
daemons of `quality` and `flat`). The moves are the tasks' own (no model). Daemons are processes of their own on loopback.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cli.child import ChildDaemon
from cli.client import Client
from node.cells.grid import neighbours
from protocol.api.nodes import NodeInfo, Peers
from protocol.api.runs import RunInfo, RunRequest
from tests.bench.report import Bar, Report
from tests.live.conftest import wait_until

SIZES = tuple(int(size) for size in os.environ.get("MOOT_PACKING_SIZES", "3,5,10,20,32").split(","))
NODES = tuple(int(count) for count in os.environ.get("MOOT_PACKING_NODES", "1,4").split(","))
ITERATIONS = 5
MEET_S = 60.0
RUN_S = 240.0
OVER = ("done", "failed", "stopped")
LOOPBACK = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--brain", "none", "--open")
Params = dict[str, int | float | str]
Tell = Callable[[str], None]
RADII = Path(__file__).parents[2] / "cli" / "packing_radii.csv"


def measure_swarm(tell: Tell, report: Report) -> None:
    """Fill in results and bars of the parts chosen."""
    parts = {"quality": quality, "killed": killed, "home": home_killed, "flat": flat}
    for name in os.environ.get("MOOT_PACKING_SWARM", ",".join(parts)).split(","):
        parts[name](tell, report)


@contextmanager
def swarm(count: int) -> Iterator[list[ChildDaemon]]:
    """So many daemons that know each other, each pinned to a core (shared where there are fewer)."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        daemons: list[ChildDaemon] = []
        for number in range(count):
            invited = ("--bootstrap", daemons[0].address) if daemons else ()
            daemon = ChildDaemon(Path(folder) / f"n{number}", [*LOOPBACK, "--name", f"n{number}", *invited])
            stack.callback(daemon.stop)
            os.sched_setaffinity(daemon.process.pid, {cores[number % len(cores)]})
            daemon.wait_ready()
            daemons.append(daemon)
        wait_until(lambda: all(_alive(daemon) >= count for daemon in daemons), "the daemons to meet", MEET_S)
        yield daemons


def _alive(daemon: ChildDaemon) -> int:
    return sum(member.state == "alive" for member in daemon.client.get("/v1/peers", Peers).members)


def solve(client: Client, task: str, params: Params, watch: Callable[[RunInfo], bool] = lambda run: False) -> RunInfo:
    """The run at its end, or when `watch` says that it has seen enough."""
    run = client.post("/v1/runs", RunInfo, RunRequest(task, {"pictures": "no", **params}))
    return follow(client, run.run_id, watch)


def follow(client: Client, run_id: str, watch: Callable[[RunInfo], bool] = lambda run: False) -> RunInfo:
    found: list[RunInfo] = []

    def over() -> bool:
        found[:] = [client.get(f"/v1/runs/{run_id}", RunInfo)]
        return watch(found[0]) or found[0].state in OVER

    wait_until(over, "a run to end", RUN_S)
    return found[0]


def quality(tell: Tell, report: Report) -> None:
    """Equal seeds on one daemon and on four."""
    table = csv.DictReader(line for line in RADII.read_text().splitlines() if line[0] != "#")
    known = {int(row["n"]): float(row["radius"]) for row in table}
    rows: dict[str, Any] = {}
    for count in NODES:
        with swarm(count) as daemons:
            client = daemons[0].client
            tell(f"quality, {count} daemons")
            colours = [solve(client, "colouring", {"size": 10, "iterations": 10, "seed": seed}).iterations[-1].mean for seed in (1, 2, 3)]
            gaps = {}
            for circles in (10, 15, 20):
                tell(f"quality, {count} daemons, n = {circles}")
                run = solve(
                    client,
                    "circle_packing",
                    {"size": 4, "iterations": 24, "seconds": 30.0, "n": circles, "seed": 1},
                    lambda run, goal=known[circles] - 1e-9: (run.best or 0.0) >= goal,  # type: ignore[misc]
                )
                gaps[circles] = known[circles] - (run.best or 0.0)
                client.post(f"/v1/runs/{run.run_id}/stop", RunInfo) if run.state not in OVER else None
                follow(client, run.run_id)
            rows[f"{count}"] = {"colouring": colours, "gaps": gaps}
    report.results["quality"] = rows
    if NODES != (1, 4):
        return
    difference = max(abs(one - four) for one, four in zip(rows["1"]["colouring"], rows["4"]["colouring"], strict=True))
    report.bars.append(Bar("colouring, largest difference of mean scores, 1 against 4 daemons", difference, "<=", 0.0))
    report.bars.append(Bar("packing, 4 daemons, worst gap of n = 10, 15, 20", max(rows["4"]["gaps"].values()), "<=", 1e-9))


LONG: Params = {"size": 4, "iterations": 30, "seconds": float(os.environ.get("MOOT_PACKING_SECONDS", "45")), "n": 14}


class _Watch:
    """Each cell's newest report and the first from another node than its first one."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.newest: dict[int, tuple[int, str]] = {}
        self.first: dict[int, tuple[int, str, float]] = {}
        self.hosts: dict[int, str] = {}

    def look(self, run: RunInfo) -> bool:
        for one in run.iterations:
            for cell in one.cells:
                self.hosts.setdefault(cell.cell, cell.node_id)
                if cell.node_id != self.hosts[cell.cell]:
                    self.first.setdefault(cell.cell, (one.iteration, cell.node_id, self._seconds()))
                elif self.newest.get(cell.cell, (0, ""))[0] < one.iteration:
                    self.newest[cell.cell] = (one.iteration, cell.node_id)
        return False


def killed(tell: Tell, report: Report) -> None:
    """A host is killed in the middle of a run: what each of its cells lost, in iterations and in seconds."""
    from node.runtime import SystemRuntime

    clock = SystemRuntime().monotonic
    with swarm(4) as daemons:
        client = daemons[0].client
        names = {daemon.client.get("/v1/node", NodeInfo).node_id: daemon for daemon in daemons}
        watch = _Watch(clock)
        tell("killed: the run begins")
        run = solve(client, "circle_packing", LONG, lambda run: watch.look(run) or (len(run.iterations) >= 8 and len(watch.hosts) == 16))
        own = client.get("/v1/node", NodeInfo).node_id
        victim = min(host for host in watch.hosts.values() if host != own)
        cells = sorted(cell for cell, host in watch.hosts.items() if host == victim)
        tell("killed: waiting for its cells")
        names[victim].kill()
        at = clock()
        run = follow(client, run.run_id, watch.look)
        rows = []
        for cell in cells:
            first = watch.first.get(cell)
            last = watch.newest.get(cell, (0, ""))[0]
            rows.append({
                "cell": cell, "last_before": last, "first_after": first[0] if first else None,
                "redone": first[0] - last if first else None, "seconds": round(first[2] - at, 2) if first else None,
            })  # fmt: skip
    report.results["killed"] = {"state": run.state, "detail": run.detail, "cells": rows, "best": run.best}
    worst = max((row["redone"] if row["redone"] is not None else 99) for row in rows)
    share = sum(row["first_after"] is not None for row in rows) / len(rows)
    report.bars.append(Bar("iterations that a killed daemon cost a cell of its, worst", worst, "<=", 1))
    report.bars.append(Bar("cells that went on elsewhere, share", share, ">=", 1.0))


def home_killed(tell: Tell, report: Report) -> None:
    """The home is killed: how long until another node has the run, and how far back it begins."""
    from node.runtime import SystemRuntime

    clock = SystemRuntime().monotonic
    with swarm(4) as daemons:
        first, others = daemons[0], daemons[1:]
        tell("home: the run begins")
        before = solve(first.client, "circle_packing", LONG, lambda run: len(run.iterations) >= 12)
        first.kill()
        at = clock()
        tell("home: waiting for an heir")
        wait_until(lambda: any(other.client.get("/v1/runs", list[RunInfo]) for other in others), "another home", 60.0)
        heir = next(other.client for other in others if other.client.get("/v1/runs", list[RunInfo]))
        waited = clock() - at
        taken = heir.get(f"/v1/runs/{before.run_id}", RunInfo)
        run = follow(heir, before.run_id)
    newest = before.iterations[-1].iteration
    report.results["home"] = {
        "seconds_until_taken_over": round(waited, 2),
        "newest_before": newest,
        "newest_in_checkpoint": taken.iterations[-1].iteration if taken.iterations else 0,
        "state": run.state,
        "detail": run.detail,
        "iterations": run.iterations[-1].iteration,
        "best": run.best,
    }
    report.bars.append(Bar("runs that completed after their home was killed", float(run.state == "done"), ">=", 1.0))


def flat(tell: Tell, report: Report) -> None:
    """Messages and bytes between nodes per cell and iteration, and beside what the placement makes necessary.

    Necessary: each cell's word to each neighbour on another node, at the start and after each iteration, and a report to the home. (What
    cells say ahead when they end is not counted as necessary; it is the same for every grid.)
    """
    rows: dict[str, Any] = {}
    for count in NODES:
        with swarm(count) as daemons:
            client = daemons[0].client
            for size in SIZES:
                tell(f"flat: {count} daemons, {size} x {size} cells")
                before = [_sent(daemon.client) for daemon in daemons]
                run = solve(client, "colouring", {"size": size, "iterations": ITERATIONS, "seed": 1})
                after = [_sent(daemon.client) for daemon in daemons]
                messages, sent_bytes, frames = (
                    sum(new[item] - old[item] for new, old in zip(after, before, strict=True)) for item in range(3)
                )  # fmt: skip
                work = ITERATIONS * size * size
                needed = _needed(run, client.get("/v1/node", NodeInfo).node_id)
                rows[f"{count} daemons, {size} x {size}"] = {
                    "mean": run.iterations[-1].mean, "cells": len(run.iterations[-1].cells), "detail": run.detail,
                    "messages": round(messages / work, 3), "bytes": round(sent_bytes / work, 1), "frames": round(frames / work, 3),
                    "messages_over_needed": round(messages / needed, 3) if needed else None,
                }  # fmt: skip
    report.results["flat"] = rows
    if 4 not in NODES:
        return
    four = [rows[f"4 daemons, {size} x {size}"] for size in SIZES]
    over, each = [row["messages_over_needed"] for row in four], [_each(row) for row in four]
    report.bars.append(Bar("messages over those needed, 4 daemons, worst grid over best", max(over) / min(over), "<=", 1.1))
    # A cell's number takes one byte up to 127 and three above 255: four bytes of 37 more in a message of a large grid.
    report.bars.append(Bar("bytes per message, 4 daemons, worst grid over best", max(each) / min(each), "<=", 1.15))
    if {10, 32} <= set(SIZES):
        ratio = four[SIZES.index(32)]["messages"] / four[SIZES.index(10)]["messages"]
        report.bars.append(Bar("messages per cell and iteration, 32 x 32 over 10 x 10", ratio, "<=", 1.15))


def _each(row: dict[str, Any]) -> float:
    return float(row["bytes"]) / float(row["messages"])


def _needed(run: RunInfo, home: str) -> int:
    hosts = {cell.cell: cell.node_id for cell in run.iterations[-1].cells}
    words = sum(hosts.get(other) != host for cell, host in hosts.items() for other in neighbours(run.size, cell))
    reports = sum(host != home for host in hosts.values())
    return words * (ITERATIONS + 1) + reports * ITERATIONS


def _sent(client: Client) -> tuple[float, float, float]:
    """(messages, bytes, frames) of cells so far."""
    values: dict[str, float] = {}
    for line in client.download("/metrics").decode().splitlines():
        name, _, value = line.partition(" ")
        if name.startswith("moot_cell_"):
            values[name] = float(value)
    return values["moot_cell_messages_total"], values["moot_cell_bytes_total"], values["moot_cell_frames_total"]
