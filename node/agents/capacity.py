"""A node holds at most `capacity` agents: from free memory, cores and how long its brains were measured to take.

    memory   a quarter of what is free, over what an agent of the largest brain takes (its genome four times over: live, packed, in the
             book's cache, as a checkpoint)
    cores    `PER_CORE` agents each
    time     as many as answer one question together within `TICK_S`, by the measured time of the slowest brain

The least of these, at least `FEWEST` and at most `MOST`; measured anew every minute. Less than live here already stops births and
arrivals, and nobody dies for it. A configured number replaces all of it.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

MEMORY_SHARE = 0.25
COPIES = 4
OVERHEAD = 65_536
"""Bytes of an agent besides its tensors."""
PER_CORE = 16
TICK_S = 10.0
FEWEST, MOST = 8, 256


@dataclass(frozen=True, slots=True)
class Capacity:
    """A number of agents, and what sets it."""

    agents: int
    reason: str


def capacity_of(free_bytes: int | None, cores: int, genome_bytes: int, agent_s: float) -> Capacity:
    """`genome_bytes`: tensors of one agent; `agent_s`: seconds of one answer, 0 while nothing was measured."""
    limits = [Capacity(PER_CORE * cores, f"{cores} cores, {PER_CORE} agents each")]
    if free_bytes is not None:
        fit = int(MEMORY_SHARE * free_bytes / (COPIES * genome_bytes + OVERHEAD))
        limits.append(Capacity(fit, f"a quarter of {free_bytes / 2**30:.1f} GiB of free memory"))
    if agent_s > 0.0:
        limits.append(Capacity(math.floor(TICK_S / agent_s), f"{agent_s * 1e3:.1f} ms an answer, all within {TICK_S:.0f} s"))
    tightest = min(limits, key=lambda limit: limit.agents)
    return Capacity(max(FEWEST, min(MOST, tightest.agents)), tightest.reason)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that could be had without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # macOS names no free pages: half of all
    except (OSError, ValueError):
        return None
