"""Circle packing on the grid, through the daemon: best-known radii, who chooses the moves, a thousand cells, distribution.

`MOOT_PACKING` picks parts, comma-separated:

    radii     n = 2 to 30, to 1e-9        `MOOT_N` picks counts
    large     n = 31 to 50, to 0.2%       `MOOT_N` picks counts
    sum       26 circles of any radii     `MOOT_PACKING_SUM_S` seconds
    honesty   the model's moves beside chance, a bandit, wrong features   `MOOT_SEEDS` picks seeds
    wide      32 x 32 cells, every move chosen by the 270M
    swarm     one daemon and four

With `MOOT_RESULTS` naming a file, `radii`, `large` and `honesty` keep every result there and measure only what is missing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from tests.bench.report import Report

PARTS = {
    "radii": ("packing_radii", "radii"),
    "large": ("packing_radii", "large"),
    "sum": ("packing_radii", "unequal"),
    "honesty": ("packing_honesty", "honesty"),
    "wide": ("packing_wide", "wide"),
}
DEFAULT = "radii"


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """Raises `KeyError` for a part that there is not."""
    report = Report()
    for name in os.environ.get("MOOT_PACKING", DEFAULT).split(","):
        if name == "swarm":
            importlib.import_module("tests.bench.packing_swarm").measure_swarm(tell, report)
            continue
        module, function = PARTS[name]
        getattr(importlib.import_module(f"tests.bench.{module}"), function)(seeds, tell, report)
    return report
