"""The seam to the outside world: the only place that reads a clock, makes randomness or leaves the event loop.

Everything else takes a `Runtime`. A linter ban on `time.time`, `random.*`, `os.urandom` and the like keeps it so, and the
simulator (`node.testing`) supplies a `Runtime` whose clock is virtual and whose randomness is seeded.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Runtime(ABC):
    """Clock, randomness and blocking work of one process."""

    @abstractmethod
    def now(self) -> float:
        """Wall clock, seconds since the Unix epoch. For certificates, expiries and people."""

    @abstractmethod
    def monotonic(self) -> float:
        """Monotonic clock in seconds. For durations and deadlines."""

    @abstractmethod
    def token_bytes(self, count: int) -> bytes:
        """`count` random bytes fit for keys and nonces."""

    @abstractmethod
    def random(self) -> random.Random:
        """A generator for choices that need not be secret."""

    @abstractmethod
    async def run_blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call off the event loop (inline under virtual time)."""


class SystemRuntime(Runtime):
    """The real clock, the operating system's randomness, threads for blocking work."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(16))

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def random(self) -> random.Random:
        return self._random

    async def run_blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)
