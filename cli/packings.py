"""Best-known packings, to show how far a run is from them. No search reads this: the table belongs to the command line alone."""

from __future__ import annotations

import csv
from importlib.resources import files

BEST_SUMS = {26: 2.635983084919, 32: 2.939572771205}
"""Largest known sums of radii of n circles in the unit square (ShinkaEvolve and later)."""


def known_radii() -> dict[int, float]:
    """n -> the best-known common radius of n equal circles in the unit square (Packomania, E. Specht)."""
    lines = files("cli").joinpath("packing_radii.csv").read_text("utf-8").splitlines()
    return {int(row["n"]): float(row["radius"]) for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def gap_text(task: str, params: dict[str, int | float | str], best: float) -> str:
    """One sentence about the best known; empty where none is known."""
    count = params.get("n")
    if not isinstance(count, int):
        return ""
    if task == "circle_packing" and not params.get("radius"):
        known, what = known_radii().get(count), "radius"
    elif task == "circle_packing_sum":
        known, what = BEST_SUMS.get(count), "sum of radii"
    else:
        return ""
    if known is None:
        return ""
    gap = known - best
    near = f"gap {gap:.1e}" if gap > 0.0 else "reached"
    return f"best-known {what} of {count} circles: {known:.15g}; {near} ({100.0 * max(0.0, gap) / known:.2g}%)"
