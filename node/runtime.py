"""The seam to the outside world: the only place that reads a clock, makes randomness or leaves the event loop.

Everything else takes a `Runtime`. A linter ban on `time.time`, `random.*`, `os.urandom` and the like keeps it so, and the
simulator (`node.testing`) supplies a `Runtime` whose clock is virtual and whose randomness is seeded.
"""

from __future__ import annotations

import asyncio
import os
import queue
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

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

    def worker(self, name: str) -> Worker:
        """Someone to run long blocking calls one after another, off the event loop."""
        return Worker(self)


class Worker:
    """Runs blocking calls through `run_blocking` (inline under virtual time)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result, or what it raised. One call at a time: the caller waits for one before the next."""
        return await self._runtime.run_blocking(function, *args, **kwargs)

    def close(self) -> None:
        """No call will come any more."""


class ThreadWorker(Worker):
    """One thread for all calls, so that libraries set up their per-thread state once (torch: 3 ms a thread).

    The thread is a daemon: a call still under way does not hold up the end of the process.
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        super().__init__(runtime)
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                result = function(*args, **kwargs)
            # Whatever the call raises belongs to its caller, who awaits it; the thread goes on with the next.
            except BaseException as error:  # noqa: BLE001
                settle, outcome = done.set_exception, error
            else:
                settle, outcome = done.set_result, result  # type: ignore[assignment]
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, done, settle, outcome)

        if not self._thread.is_alive():
            self._thread.start()
        self._calls.put(call)
        return await done

    def close(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _settle(done: asyncio.Future[Any], settle: Callable[[Any], None], outcome: object) -> None:
    if not done.cancelled():
        settle(outcome)


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

    def worker(self, name: str) -> Worker:
        return ThreadWorker(self, name)
