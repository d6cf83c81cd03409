"""The council's promises as numbers: right answers, believable confidence, memory, overhead.

council_answers.py, consensus.py, scripted.py   scripted agents; exact for a seed
sentences.py                                    real answers of the 270M; needs its weights, so it runs only when named
recall.py                                       semantic memory over simulated nodes; exact for a seed
overhead.py                                     real processes and sockets; as good as the machine is quiet

`MOOT_BENCH=answers,memory,overhead,sentences` picks parts; without it all but the last are run. `MOOT_SIZES=3,5` picks crews' sizes
for `answers`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.bench import consensus, overhead, recall
from tests.bench.council_answers import measure_answers
from tests.bench.report import Bar, Report
from tests.bench.sentences import CREWS, measure_sentences


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """`seeds` times ten crews of each size; one memory a seed."""
    report, parts = Report(), os.environ.get("MOOT_BENCH", "answers,memory,overhead").split(",")
    if "answers" in parts:
        sizes = [int(size) for size in os.environ.get("MOOT_SIZES", "").split(",") if size]
        measure_answers(seeds, sizes or consensus.SIZES, tell, report)
    if "memory" in parts:
        _memory(seeds, tell, report)
    if "overhead" in parts:
        _cost(tell, report)
    if "sentences" in parts:
        measure_sentences(CREWS, tell, report)
    return report


def _memory(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    tell("5,000 memories on 20 simulated nodes")
    runs = [recall.measure_recall(seed) for seed in range(1, seeds + 1)]
    report.results["memory"] = runs
    report.bars += [
        Bar("recall@3 of paraphrases", min(run["recall@3"] for run in runs), ">=", 0.9),
        Bar("DHT look-ups a query", max(run["look-ups a query"] for run in runs), "<=", 12),
    ]


def _cost(tell: Callable[[str], None], report: Report) -> None:
    tell("16 tiny agents on 8 nodes in 4 processes")
    figures = overhead.measure_overhead()
    report.results["overhead"] = figures
    ours, plain = figures["council"], figures["plain fan-out"]
    report.bars += [
        Bar("consensus p50 ms", ours["p50 ms"], "<=", 20.0, baseline=plain["p50 ms"]),
        Bar("consensus a second through one node", ours["a second"], ">=", 60.0, baseline=plain["a second"]),
        Bar("consensus p50 over a plain HTTP fan-out's", round(ours["p50 ms"] / plain["p50 ms"], 2), "<=", 2.0),
    ]
