"""Councils whose nodes share a process: in virtual time, so that a deadline is kept or missed whatever the machine does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from node.testing import SimLoop, SimNetwork
from tests.unit.council.world import Swarm

HOUR_S = 3_600.0


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": lambda: SimLoop(SimNetwork(1), HOUR_S)}


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
