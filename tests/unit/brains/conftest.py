"""One loaded Gemma for the whole test session: loading takes seconds and more than a gigabyte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from node.brains.gemma.brain import GemmaBrain


@pytest.fixture(scope="session")
def gemma() -> Iterator[GemmaBrain]:
    """The packaged Gemma 270M, loaded as a daemon loads it. Skips the test where the weights are not installed."""
    from node.brains.gemma.weights import installed

    if not installed() and os.environ.get("CI"):
        pytest.fail("the packaged weights are not installed: `make install` should have brought them")
    if not installed():
        pytest.skip("the packaged weights are not installed")
    from node.brains.gemma.brain import GemmaBrain
    from node.runtime import SystemRuntime

    brain = GemmaBrain(SystemRuntime())
    brain.load(lambda what, fraction: None)
    yield brain
    brain.close()
