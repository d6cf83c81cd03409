"""A swarm for links."""

from __future__ import annotations

import pytest

from node.runtime import SystemRuntime
from node.testing import Swarm


@pytest.fixture
def swarm() -> Swarm:
    return Swarm(SystemRuntime())
