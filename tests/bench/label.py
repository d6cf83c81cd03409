"""Labelling with few answers, in parts: `MOOT_LABEL=curve,speed python -m tests.bench label --seeds 5 --json`; all parts when unset.

    curve         accuracy at 24 to 192 answers beside scikit-learn baselines, with the calibration part of the same runs
                  (`curve=hwu12`: one data set)
    calibration   calibration, selective accuracy, "none of these", bias and interval of the estimate; `curve` without baselines
    domains       `curve` on eight development sets, some of them hard, beside the strong baseline (`domains=home`: one)
    cutoff        "none of these" with out-of-scope rows in the pile
    liar          one node of three sends random vectors
    speed         reading beside embedding alone; re-labelling after a correction
    kinds         what Gemma adds to the heads, and alone (100 test rows, one seed; `kinds=48`, `kinds=96`: at so many answers)
    guests        whether a guest's trial lets in who helps and nobody else, on development sets (`label_guests.py`; `guests=scripted`,
                  `guests=gemma=0` to `3`)
    divisions     whether heads that divide help: development sets only (`divisions=none`: one kind of life)
    constants     how the learners' constants were chosen: development sets only (`constants=NAME`: one of them)
    reach         how small the calibration error could be, and coverage of the estimate's interval: development sets only
    swarm         real daemons (`label_swarm.py`; `swarm=curve`, `liar`, `job`, `speedup`, `memory`: one part)

The learners' constants were chosen on `dev_*` and by cross-validation on the train rows of two reported sets (`label_constants.py`,
seeds apart from the reported ones), first questions and discriminant on the sets of `domains` and other intents of BANKING77. No test
label of a reported set enters training, weights or calibration. Each seed starts from other coverage rows; 95% intervals are
bootstrapped over test rows.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from statistics import mean

from tests.bench.label_data import LIMITS, STOPS, Shelf
from tests.bench.report import Bar, Report

PARTS = ("curve", "cutoff", "liar", "speed", "kinds", "swarm")
"""What runs when nothing is said: `calibration` is in `curve`; `constants`, `divisions` and `reach` look at development sets."""


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """Figures over `seeds` seeds; `--seeds 5` is what the bars are stated for."""
    warnings.filterwarnings("ignore", module="sklearn")
    report, shelf = Report(), Shelf()
    for part in os.environ.get("MOOT_LABEL", ",".join(PARTS)).split(","):
        name, _, choice = part.strip().partition("=")
        _measure(name, choice, shelf, seeds, tell, report)
    return report


def _measure(name: str, choice: str, shelf: Shelf, seeds: int, tell: Callable[[str], None], report: Report) -> None:
    from tests.bench import label_constants, label_curve, label_divisions, label_guests, label_kinds, label_reach, label_speed

    if name in ("curve", "calibration"):
        label_curve.measure(shelf, seeds, tell, report, baselines=name == "curve", choice=choice)
    elif name == "domains":
        label_curve.measure_domains(shelf, seeds, tell, report, choice)
    elif name == "cutoff":
        label_curve.cut_off(shelf, seeds, tell, report)
    elif name == "liar":
        label_speed.measure_liar(shelf, seeds, tell, report)
    elif name == "speed":
        label_speed.measure_speed(shelf, report)
    elif name == "kinds":
        label_kinds.measure(shelf, choice, tell, report)
    elif name == "guests":
        label_guests.measure(shelf, choice, tell, report)
    elif name == "divisions":
        label_divisions.measure(shelf, choice, tell, report)
    elif name == "constants":
        label_constants.measure(shelf, choice, tell, report)
    elif name == "reach":
        label_reach.measure(shelf, seeds, tell, report)
    elif name == "swarm":
        _swarm(choice, seeds, tell, report)
    else:
        raise SystemExit(f"MOOT_LABEL names '{name}': there are calibration, constants, divisions, domains, reach, {', '.join(PARTS)}.")


def _swarm(choice: str, seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """Real daemons (`label_swarm.py`), all of it or one part: curve, liar, job, speedup, memory."""
    from tests.bench.label_data import DATA

    swarm = importlib.import_module("tests.bench.label_swarm")
    if choice in ("", "curve"):
        for dataset in ("banking12", "clinc_banking15"):
            curves = [swarm.swarm_curve(DATA, dataset, seed, tell)["accuracy"] for seed in range(seeds)]
            means = {stop: mean(curve[str(stop)] for curve in curves) for stop in STOPS}
            report.results[f"three daemons: {dataset}"] = {str(stop): round(means[stop], 4) for stop in STOPS}
            if dataset == "banking12":
                report.bars += [Bar(f"three daemons: accuracy at {stop} answers", means[stop], ">=", LIMITS[stop]) for stop in STOPS]
    if choice in ("", "liar"):
        found = swarm.liar_cost(DATA, "banking12", 0, tell)
        report.results["three daemons: one liar, one seed"] = found
        report.bars.append(Bar("three daemons: accuracy lost to one liar, 48 answers, one seed", found["lost"], "<=", 0.01))
    if choice in ("", "job"):
        found = report.results["one daemon: 10,000 rows, everything"] = swarm.whole_job(10_000, tell)
        report.bars.append(Bar("one daemon: time of 10,000 rows over embedding them alone", found["ratio"], "<=", 1.25))
    if choice in ("", "speedup"):
        report.results["three daemons: speed-up on cores of their own"] = swarm.pinned_speedup(10_000, tell)
    if choice in ("", "memory"):
        report.results["one daemon: memory"] = swarm.memory_flatness(tell)
