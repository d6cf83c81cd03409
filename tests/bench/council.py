"""The council's promises as numbers: right answers, believable confidence, memory, overhead.

council_answers.py, consensus.py, scripted.py   scripted agents; exact for a seed
sentences.py                                    real answers of the 270M; needs its weights, so it runs only when named
recall.py                                       semantic memory over simulated nodes, with each embedder; exact for a seed up to rounding
overhead.py                                     real processes and sockets; as good as the machine is quiet

`MOOT_BENCH=answers,memory,paraphrases,overhead,sentences` picks parts; without it all but the last are run. `MOOT_SIZES=3,5` picks
crews' sizes for `answers`.
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
    report, parts = Report(), os.environ.get("MOOT_BENCH", "answers,memory,paraphrases,overhead").split(",")
    if "answers" in parts:
        sizes = [int(size) for size in os.environ.get("MOOT_SIZES", "").split(",") if size]
        measure_answers(seeds, sizes or consensus.SIZES, tell, report)
    if "memory" in parts:
        _memory(seeds, tell, report)
    if "paraphrases" in parts:
        _paraphrases(seeds, tell, report)
    if "overhead" in parts:
        _cost(tell, report)
    if "sentences" in parts:
        measure_sentences(CREWS, tell, report)
    return report


def _memory(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    runs = [recall.measure_recall(recall.made_up, seed, tell) for seed in range(1, seeds + 1)]
    report.results["memory"] = runs
    for embedder in ("words", "minilm"):
        report.bars += [
            Bar(f"recall@3 of paraphrases, {embedder}", min(run[embedder]["recall@3"] for run in runs), ">=", 0.9),
            Bar(f"DHT look-ups a query, {embedder}", max(run[embedder]["look-ups a query"] for run in runs), "<=", 12),
        ]


def _paraphrases(seeds: int, tell: Callable[[str], None], report: Report) -> None:
    """What MiniLM is pinned for; no promise stands on it but that it does better than words."""
    runs = [recall.measure_recall(recall.written, seed, tell) for seed in range(1, seeds + 1)]
    report.results["paraphrases"] = runs
    words, minilm = (min(run[name]["recall@3, other words"] for run in runs) for name in ("words", "minilm"))
    report.bars.append(Bar("recall@3 of questions in other words, minilm", minilm, ">=", words, baseline=words))


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
