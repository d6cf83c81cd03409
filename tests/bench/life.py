"""Living agents: what a swarm learns from "right" and "wrong" alone, whether selection pays, what many agents cost.

`MOOT_LIFE` picks pieces (`digits,liars,central,evolution,crowds,births,population`; all when unset), each of a few minutes;
`MOOT_LIFE_SEEDS` names seeds (`1,2,3`) instead of all that are reported. A bar that compares two pieces stands only where both ran.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence

from tests.bench import life_crowds, life_digits, life_evolution
from tests.bench.life_births import births_ms
from tests.bench.report import Bar, Report

Tell = Callable[[str], None]
Piece = Callable[[Sequence[int], Tell, Report], None]
"""`piece(seeds, tell, report)`; without seeds it takes its own."""


def _births(seeds: Sequence[int], tell: Tell, report: Report) -> None:
    tell("births on another node")
    births = births_ms()
    report.results |= {name: round(value, 2) for name, value in births.items()}
    report.bars.append(Bar("one tiny:mlp birth on another node over loopback, p50 ms", births["birth_p50_ms"], "<=", 50.0))


def _population(seeds: Sequence[int], tell: Tell, report: Report) -> None:
    importlib.import_module("tests.bench.life_population").measure_population(tell, report)


PIECES: dict[str, Piece] = {
    "digits": life_digits.honest,
    "liars": life_digits.liars,
    "central": life_digits.central,
    "evolution": life_evolution.measure,
    "crowds": life_crowds.measure,
    "births": _births,
    "population": _population,
}


def measure(seeds: int, tell: Tell) -> Report:
    """Digits take the first `seeds` of their fresh seeds where more than one is asked for, and all of them otherwise."""
    report = Report()
    wanted = os.environ.get("MOOT_LIFE", "")
    named = [int(seed) for seed in os.environ.get("MOOT_LIFE_SEEDS", "").split(",") if seed]
    for name in wanted.split(",") if wanted else PIECES:
        PIECES[name](named or (life_digits.SEEDS[:seeds] if seeds > 1 and name in life_digits.PIECES else ()), tell, report)
    life_digits.compare(report)
    return report
