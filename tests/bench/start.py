"""How long people wait before anything happens, and what an idle node costs.

Whole processes, as a person starts them; the time of a bare interpreter stands beside, because nothing can be faster.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil

from cli.child import ChildDaemon
from node.runtime import SystemRuntime
from tests.bench.report import Bar, Report

RUNTIME = SystemRuntime()
REPEATS = 7
STARTS = 3
LOOPBACK = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0")

STATUS_S = 0.5
"""Design: `moot status` answers in well under half a second."""
TINY_READY_S = 3.0
"""Issue: a node with a tiny brain is ready under 3 s (importing torch alone takes 1.3)."""
IDLE_MB = 90.0
"""Issue: a node without a model stays under 90 MB resident."""
STOP_S = 2.0
"""Issue: clean shutdown under 2 s on SIGTERM."""


def measure(seeds: int, tell: Callable[[str], None]) -> Report:
    """Medians of whole-process times; `seeds` multiplies the repetitions of node starts."""
    with tempfile.TemporaryDirectory(prefix="moot-bench-") as scratch, ExitStack() as stack:
        root = Path(scratch)
        tell("bare interpreter")
        bare = median(_seconds([sys.executable, "-c", "pass"]) for _ in range(REPEATS))
        tell("importing torch")
        torch = median(_seconds([sys.executable, "-c", "import torch"]) for _ in range(STARTS))
        tell("a node without a model")
        idle = ChildDaemon(root / "idle", [*LOOPBACK, "--brain", "none"])
        stack.callback(idle.stop)
        idle.wait_ready()
        status = median(_seconds([sys.executable, "-m", "cli", "status", "--data-dir", str(root / "idle")]) for _ in range(REPEATS))
        resident = psutil.Process(idle.process.pid).memory_info().rss / 1e6
        tell("nodes with a tiny brain")
        starts = [_start_and_stop(root / f"tiny{number}") for number in range(STARTS * seeds)]
    ready, stop = median(start for start, _ in starts), max(stop for _, stop in starts)
    return Report(
        results={"bare_interpreter_s": round(bare, 3), "import_torch_s": round(torch, 3), "tiny_ready_s": [round(s, 2) for s, _ in starts]},
        bars=[
            Bar("moot status, whole process, s", status, "<=", STATUS_S, bare),
            Bar("tiny node ready, s", ready, "<=", TINY_READY_S, torch),
            Bar("node without a model, resident MB", resident, "<=", IDLE_MB),
            Bar("clean shutdown on SIGTERM, slowest, s", stop, "<=", STOP_S),
        ],
    )


def _start_and_stop(data_dir: Path) -> tuple[float, float]:
    """Seconds from exec to ready, and from SIGTERM to exit."""
    started = RUNTIME.monotonic()
    daemon = ChildDaemon(data_dir, [*LOOPBACK, "--brain", "tiny"])
    try:
        daemon.wait_ready()
        ready = RUNTIME.monotonic()
    finally:
        stopping = RUNTIME.monotonic()
        code = daemon.stop()
    assert code == 0, daemon.log_tail()
    return ready - started, RUNTIME.monotonic() - stopping


def _seconds(command: Sequence[str]) -> float:
    started = RUNTIME.monotonic()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return RUNTIME.monotonic() - started
