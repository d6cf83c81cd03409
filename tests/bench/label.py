"""Labelling with few answers, in parts: `MOOT_LABEL=curve,speed python -m tests.bench label --seeds 5 --json`; all parts when unset.

    curve         accuracy at 24 to 192 answers beside scikit-learn baselines, with the calibration part of the same runs
    calibration   calibration, selective accuracy, "none of these", bias and interval of the estimate; `curve` without baselines
    cutoff        "none of these" with out-of-scope rows in the pile
    liar          one node of three sends random vectors
    speed         reading beside embedding alone; re-labelling after a correction
    kinds         what Gemma adds to the heads, and alone (100 test rows, one seed: 20 to 40 rows a second)
    constants     how the learners' constants were chosen: development sets only (`constants=NAME`: one of them)
    swarm         three daemons (`label_swarm.py`)

The learners' constants were chosen on `dev_*` and by cross-validation on the train rows of two reported sets (`label_constants.py`,
seeds apart from the reported ones); hwu12 was looked at once, after that. No test label enters training, weights or calibration.
Each seed starts from other coverage rows; 95% intervals are bootstrapped over test rows.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable

from tests.bench.label_data import Shelf
from tests.bench.report import Report

PARTS = ("curve", "cutoff", "liar", "speed", "kinds", "swarm")
"""What runs when nothing is said: `calibration` is in `curve`, and `constants` is how the constants came about."""


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """Figures over `seeds` seeds; `--seeds 5` is what the bars are stated for."""
    warnings.filterwarnings("ignore", module="sklearn")
    report, shelf = Report(), Shelf()
    for part in os.environ.get("MOOT_LABEL", ",".join(PARTS)).split(","):
        name, _, choice = part.strip().partition("=")
        _measure(name, choice, shelf, seeds, tell, report)
    return report


def _measure(name: str, choice: str, shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report) -> None:
    from tests.bench import label_constants, label_curve, label_kinds, label_speed

    if name in ("curve", "calibration"):
        label_curve.measure(shelf, seeds, tell, report, baselines=name == "curve")
    elif name == "cutoff":
        label_curve.cut_off(shelf, seeds, tell, report)
    elif name == "liar":
        label_speed.measure_liar(shelf, seeds, tell, report)
    elif name == "speed":
        label_speed.measure_speed(shelf, report)
    elif name == "kinds":
        label_kinds.measure(shelf, tell, report)
    elif name == "constants":
        label_constants.measure(shelf, choice, tell, report)
    elif name == "swarm":
        _swarm(seeds, tell, report)
    else:
        raise SystemExit(f"MOOT_LABEL names '{name}': there are calibration, constants, {', '.join(PARTS)}.")


def _swarm(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """What is measured on real daemons: each function returns results; a key `bars` holds (name, value, op, limit, baseline)."""
    from tests.bench.label_data import DATA

    label_swarm = importlib.import_module("tests.bench.label_swarm")
    for dataset in ("banking12", "clinc_banking15"):
        for seed in range(seeds):
            report.results[f"swarm: {dataset}, seed {seed}"] = label_swarm.swarm_curve(DATA, dataset, seed, tell)
    report.results["swarm: speed-up of three pinned daemons"] = label_swarm.pinned_speedup(10_000, tell)
    report.results["swarm: memory"] = label_swarm.memory_flatness(tell)
    report.results["swarm: whole job"] = label_swarm.whole_job(10_000, tell)
