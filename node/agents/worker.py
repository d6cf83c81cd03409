"""One brain at work: a queue in front of it, one call at a time, everything that waits in one batch.

    await worker.submit("choose", brain.choose, asks)

Jobs with an equal key share a call of the brain. Background jobs (measuring) run only while nobody waits for an answer, and each is
small, so that a question waits for at most one of them. The brain runs in a worker thread and is never entered twice at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import structlog

from node.brains.base import Brain
from node.runtime import Runtime
from protocol.errors import InvalidRequest, LocalError, NotAvailable, UserError

MAX_BATCH = 64
"""Items of one call, unless a single job has more."""
MAX_WAITING = 1_024
"""Items that may wait for one brain."""
STOPPING = "This node is stopping: ask another one."

Progress = Callable[[str, str, float], None]
"""`progress(brain, what, fraction)`, on the event loop."""
Item = TypeVar("Item")
Result = TypeVar("Result")
log = structlog.get_logger("brains")


@dataclass(slots=True)
class _Job:
    key: Hashable
    function: Callable[[list[Any]], list[Any]]
    items: Sequence[Any]
    done: asyncio.Future[list[Any]]


class BrainWorker:
    """Owns one brain: its loading, its queue and its end."""

    def __init__(self, runtime: Runtime, brain: Brain, on_progress: Progress) -> None:
        self._runtime = runtime
        self._thread = runtime.worker(f"brain {brain.name}")
        self._on_progress = on_progress
        self._waiting: deque[_Job] = deque()
        self._background: deque[_Job] = deque()
        self._news = asyncio.Event()
        self._busy = False
        self.brain = brain
        self.state: Literal["loading", "ready", "failed"] = "loading"
        self.detail = ""
        """What loading is at, or why it failed."""
        self.progress = 0.0
        """How far loading is, 0 to 1."""
        self.calls = 0
        """Batches that the brain has answered."""
        self.item_s = 0.0
        """Seconds that one item took lately (exponential mean over batches); 0 before the first."""

    async def load(self) -> None:
        """Load the brain; a failure is this brain's own and is kept as `state` and `detail`."""
        loop = asyncio.get_running_loop()

        def progress(what: str, fraction: float) -> None:
            loop.call_soon_threadsafe(self._progressed, what, fraction)

        failure = await self._guarded(self.brain.load, progress)
        if isinstance(failure, UserError):
            self.fail(str(failure))
        else:
            self.state, self.detail, self.progress = "ready", "", 1.0

    def fail(self, reason: str) -> None:
        """Give this brain up; the others go on."""
        self.state, self.detail = "failed", reason
        log.warning("a brain failed", brain=self.brain.name, reason=reason)

    def close(self) -> None:
        """Release the brain, unless a thread is still inside it: then the end of the process does."""
        if not self._busy:
            self.brain.close()
        self._thread.close()

    async def serve(self) -> None:
        """Answer batches until cancelled."""
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(0)  # whoever asks in this tick of the loop shares the call
                jobs = self._next_batch()
                if jobs:
                    await self._answer(jobs)
        finally:
            self._settle([*self._waiting, *self._background], NotAvailable(STOPPING))

    async def submit(
        self, key: Hashable, function: Callable[[list[Item]], list[Result]], items: Sequence[Item], *, background: bool = False
    ) -> list[Result]:
        """Results in the order of items. Raises `NotAvailable` when the brain failed or too much waits for it."""
        if self.state != "ready":
            raise NotAvailable(f"The brain {self.brain.name} is not ready: {self.detail or self.state}.")
        queue = self._background if background else self._waiting
        if sum(len(job.items) for job in queue) + len(items) > MAX_WAITING:
            raise NotAvailable(f"More than {MAX_WAITING} questions wait for the brain {self.brain.name}: ask again later.")
        job = _Job(key, function, items, asyncio.get_running_loop().create_future())
        queue.append(job)
        self._news.set()
        return await job.done

    async def call(self, function: Callable[[], Result]) -> Result:
        """Something else the brain does, alone: seed, mutate."""
        return (await self.submit(object(), lambda _: [function()], [None]))[0]

    def _next_batch(self) -> list[_Job]:
        """The oldest job and those that can share its call; a background job alone. Jobs whose caller gave up are dropped."""
        for queue in (self._waiting, self._background):
            for job in [job for job in queue if job.done.done()]:
                queue.remove(job)
        jobs: list[_Job] = []
        if self._waiting:
            first, size = self._waiting[0], 0
            for job in list(self._waiting):
                if job.key == first.key and (not jobs or size + len(job.items) <= MAX_BATCH):
                    jobs.append(job)
                    size += len(job.items)
                    self._waiting.remove(job)
        elif self._background:
            jobs.append(self._background.popleft())
        if not self._waiting and not self._background:
            self._news.clear()
        return jobs

    async def _answer(self, jobs: list[_Job]) -> None:
        results: list[Any] | UserError = NotAvailable(STOPPING)
        began, count = self._runtime.monotonic(), sum(len(job.items) for job in jobs)
        try:
            results = await self._guarded(jobs[0].function, [item for job in jobs for item in job.items])
            self.calls += 1
            took = (self._runtime.monotonic() - began) / max(1, count)
            self.item_s = took if self.calls == 1 else 0.9 * self.item_s + 0.1 * took
        finally:
            if not isinstance(results, InvalidRequest) or len(jobs) == 1:
                self._settle(jobs, results)
        if isinstance(results, InvalidRequest) and len(jobs) > 1:
            for job in jobs:  # one question that cannot be asked does not spoil those that shared its call
                await self._answer([job])

    @staticmethod
    def _settle(jobs: Sequence[_Job], results: list[Any] | UserError) -> None:
        """Give each job its share of the results, or the error."""
        start = 0
        for job in jobs:
            end = start + len(job.items)
            if not job.done.done():
                if isinstance(results, UserError):
                    job.done.set_exception(results)
                else:
                    job.done.set_result(results[start:end])
            start = end

    async def _guarded(self, function: Callable[[Any], Result], argument: Any) -> Result | UserError:
        """Supervision boundary: a brain is foreign code (models, compilers, servers); whatever it raises costs this call only."""
        self._busy = True
        outcome: Result | UserError
        try:
            outcome = await self._thread.run(function, argument)
            if isinstance(argument, list) and (not isinstance(outcome, list) or len(outcome) != len(argument)):
                raise LocalError(f"the brain did not answer {len(argument)} items with as many")
        except UserError as error:
            outcome = error
        except Exception as error:
            log.exception("a brain raised", brain=self.brain.name)
            outcome = NotAvailable(f"The brain {self.brain.name} failed ({type(error).__name__}: {error}): the log says more.")
        self._busy = False  # not reached when cancelled: a thread is still inside the brain then
        return outcome

    def _progressed(self, what: str, fraction: float) -> None:
        if self.state == "loading":  # the last word may arrive after loading ended
            self.detail, self.progress = f"{what} ({fraction:.0%})", fraction
        self._on_progress(self.brain.name, what, fraction)
