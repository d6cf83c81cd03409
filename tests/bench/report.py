"""What a benchmark returns and how it is shown."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise as a number."""

    name: str
    value: float
    op: Literal["<=", ">="]
    limit: float
    baseline: float | None = None

    @property
    def ok(self) -> bool:
        return self.value <= self.limit if self.op == "<=" else self.value >= self.limit


@dataclass(slots=True)
class Report:
    """The outcome of one benchmark."""

    results: dict[str, Any] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)


def machine() -> str:
    """Processor, cores, memory, system and Python: what a figure was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = platform.processor() or platform.machine()
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
            names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
        processor = names[0] if names else processor
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """The commit measured, with `+` when the working tree differs from it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=False).stdout.strip()
    return (head or "none") + ("+" if changed else "")


def as_json(name: str, seed: int, seconds: float, report: Report) -> dict[str, Any]:
    return {
        "name": name,
        "commit": commit(),
        "machine": machine(),
        "seconds": round(seconds, 3),
        "seed": seed,
        "results": report.results,
        "bars": [asdict(bar) | {"ok": bar.ok} for bar in report.bars],
    }


def show(name: str, seconds: float, report: Report, console: Console) -> None:
    """A table of bars and a line per further result."""
    table = Table(title=f"{name}  ({seconds:.1f} s on {machine()}, commit {commit()})", title_justify="left")
    for column in ("bar", "value", "limit", "baseline", ""):
        table.add_column(column, justify="left" if column in ("bar", "") else "right")
    for bar in report.bars:
        baseline = "" if bar.baseline is None else f"{bar.baseline:.3g}"
        table.add_row(bar.name, f"{bar.value:.3g}", f"{bar.op} {bar.limit:g}", baseline, "ok" if bar.ok else "MISSED")
    console.print(table)
    for key, value in report.results.items():
        console.print(f"{key}: {value}")
