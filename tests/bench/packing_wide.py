"""Part `wide`: 32 x 32 cells on one node, every move chosen by the 270M. `MOOT_WIDE`: another side, `MOOT_WIDE_N`: circles."""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from cli.client import Client
from node.cells.traces import information, traces
from tests.bench.packing_daemon import Params, daemon, load, solve
from tests.bench.report import Bar, Report


def wide(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    side, circles = int(os.environ.get("MOOT_WIDE", "32")), int(os.environ.get("MOOT_WIDE_N", "10"))
    tell(f"{side * side:,} cells with Gemma")
    with daemon("--brain", "gemma") as (client, process):
        idle, before = process.memory_info().rss, _tokens(client)
        params: Params = {"size": side, "iterations": 1, "n": circles, "chooser": "brain", "brain": "gemma", "seed": 1, "pictures": "no"}
        run, seconds = solve(client, "circle_packing", params)
        read = _tokens(client) - before
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        peak = max(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    found = traces(run.iterations)
    said = information(found, random.Random(1))
    cells = len(run.iterations[-1].cells) if run.iterations else 0
    report.results["wide"] = {
        "state": run.state,
        "detail": run.detail,
        "cells": cells,
        "seconds": round(seconds, 1),
        "model_seconds": round(math.fsum(trace.thought_s for _, trace in found), 1),
        "core_seconds_of_moves": round(math.fsum(trace.worked_s for _, trace in found), 1),
        "core_ms_of_moves_per_cell": round(1000.0 * math.fsum(trace.worked_s for _, trace in found) / max(1, cells), 1),
        "idle_mb": round(idle / 2**20),
        "peak_mb": round(peak / 1024),
        "tokens_of_all_prompts": sum(trace.tokens for _, trace in found),
        "tokens_read": round(read),
        "information": None if said is None else msgspec.to_builtins(said),
        "load": load(),
    }  # fmt: skip
    report.bars.append(Bar("cells that completed the iteration", cells, ">=", side * side))


def _tokens(client: Client) -> float:
    text = client.download("/metrics").decode()
    return sum(float(found) for found in re.findall(r"^moot_cell_tokens_total (\S+)", text, re.MULTILINE))
