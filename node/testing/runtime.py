"""The simulator's runtime: virtual clocks, seeded randomness, blocking work inline."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from node.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = 1_780_272_000.0
"""Wall clock at virtual second 0: 2026-06-01 00:00 UTC."""


class SimRuntime(Runtime):
    """Equal seeds give equal bytes; a seed is text, so that every node has its own stream. `clock` gives seconds: a loop's `time`."""

    def __init__(self, seed: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._secrets = random.Random(f"secrets {seed}")
        self._random = random.Random(f"choices {seed}")

    def now(self) -> float:
        return EPOCH + self._clock()

    def monotonic(self) -> float:
        return self._clock()

    def token_bytes(self, count: int) -> bytes:
        return self._secrets.randbytes(count)

    def random(self) -> random.Random:
        return self._random

    async def run_blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)
