from __future__ import annotations

import asyncio

import pytest

from tests.unit.council.world import Swarm


@pytest.fixture
async def swarm() -> Swarm:
    """Empty; add nodes to it."""
    return Swarm(asyncio.get_running_loop().time)


@pytest.fixture
def three(swarm: Swarm) -> Swarm:
    """Three nodes with four agents each that all say 'good'."""
    for _ in range(3):
        swarm.add("good", "good", "good", "good")
    return swarm
