"""`python -m tests.bench [NAME] [--seeds N] [--json] [--strict]`."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys

import structlog
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from node.runtime import SystemRuntime
from tests.bench.report import Report, as_json, show

BENCHMARKS = {
    "start": "whole-process start times and the memory of an idle node",
    "ask": "Gemma labelling on one node, and the council's overhead on three",
    "council": "right answers, confidence, memory and overhead of the council beside its baselines",
    "life": "what agents learn from right and wrong alone, whether selection pays, what a thousand cost",
    "life_population": "a virtual day of 2,000 agents on 200 nodes: birth budget, families, records (also part of life)",
    "packing": "circle packing on the grid: best-known radii, choosers, distribution",
    "label": "labelling with few answers beside the usual baselines; speed of reading and re-labelling",
    "dht": "gets and sets on 50 nodes beside stock kademlia",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what moot promises.")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS))
    parser.add_argument("--seeds", type=int, default=1, help="repetitions with different seeds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    arguments = parser.parse_args()
    console, messages = Console(), Console(stderr=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # a node's news would mix with the figures
    if arguments.name is None:
        for name, purpose in BENCHMARKS.items():
            console.print(f"{name:8} {purpose}")
        return 0
    measure = importlib.import_module(f"tests.bench.{arguments.name}").measure
    runtime = SystemRuntime()
    started = runtime.monotonic()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=messages, transient=True) as progress:
        task = progress.add_task(arguments.name, total=None)
        report: Report = measure(arguments.seeds, lambda text: progress.update(task, description=f"{arguments.name}: {text}"))
    seconds = runtime.monotonic() - started
    if arguments.json:
        print(json.dumps(as_json(arguments.name, arguments.seeds, seconds, report), indent=2))
    else:
        show(arguments.name, seconds, report, console)
    missed = any(not bar.ok for bar in report.bars)
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
