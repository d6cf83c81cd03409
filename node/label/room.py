"""Whether a node has room for the learners of a project that another node started."""

from __future__ import annotations

from collections.abc import Callable

from node.agents.capacity import free_memory

HEADS = 4
"""Learners of a project; each counts as one of the agents that the node has room for (`node/agents/capacity.py`)."""
BYTES_A_ROW = 40_000
"""What opening takes for a moment; a third of it stays (measured at 10,000 rows and 12 labels: 37 KB and 14 KB)."""
MEMORY_SHARE = 0.25


def why_no_room(rows: int, guests: int, capacity: Callable[[], int] | None) -> str:
    """Why a project of so many rows has no room here beside `guests` other projects of others; empty when it has."""
    if capacity is not None and (places := capacity()) < HEADS * (guests + 1):
        return f"room for {places} agents, and {HEADS} learners a project for {guests + 1} projects of others"
    free = free_memory()
    if free is not None and rows * BYTES_A_ROW > MEMORY_SHARE * free:
        return f"{rows} rows need {rows * BYTES_A_ROW / 2**20:.0f} MiB, more than a quarter of {free / 2**20:.0f} MiB of free memory"
    return ""


def why_no_child(heads: int, capacity: Callable[[], int] | None) -> str:
    """Why a head of a project with so many heads here may not divide onto this node; empty when it may."""
    if capacity is not None and (places := capacity()) <= heads:
        return f"room for {places} agents, and {heads} learners of that project"
    return ""
