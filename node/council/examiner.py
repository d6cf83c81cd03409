"""Hidden canaries: questions with known answers that only this node knows, mixed into its work.

A panel node cannot tell one from any other question of this convener: it travels as one, through the same two phases. The answers go
into the ledger. Canaries are asked in the wake of real questions (one after every `EVERY`-th), never on their own clock, so an idle swarm
stays idle. They come from people (`moot canary add`), are kept on this node's disk and are never published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog

from node.council.canaries import Canary
from node.council.ledger import Ledger
from node.council.request import DEFAULT_DEADLINE_S, Asking
from node.runtime import Runtime
from protocol.errors import InvalidRequest, UserError
from protocol.leanings import Mark, choices_key
from protocol.receipts import Receipt, settle

EVERY = 3
"""One canary after every so many questions."""
SAVE_S = 1.0
"""At least this long between two writes of the ledger: ratings that come together are written together."""
MAX_HIDDEN = 5_000
MAX_WAITING = 8

Convene = Callable[[Asking], Awaitable[tuple[Receipt, object]]]
log = structlog.get_logger("council")
_canaries = msgspec.msgpack.Decoder(list[Canary])


class Keep(Protocol):
    """Small named values that outlive the process."""

    async def load(self, name: str) -> bytes | None: ...

    async def save(self, name: str, data: bytes) -> None: ...


class Examiner:
    """`asked` after each question; `run` asks the canaries."""

    def __init__(self, runtime: Runtime, convene: Convene, ledger: Ledger, keep: Keep | None = None) -> None:
        self._runtime = runtime
        self._convene = convene
        self._ledger = ledger
        self._keep = keep
        self._hidden: list[Canary] = []
        self._next = 0
        self._count = 0
        self._waiting: asyncio.Queue[None] = asyncio.Queue(MAX_WAITING)

    def __len__(self) -> int:
        return len(self._hidden)

    @property
    def waiting(self) -> int:
        """Canaries to be asked now."""
        return self._waiting.qsize()

    async def add(self, canaries: list[Canary]) -> int:
        """Take canaries, replacing those of the same id; how many there are now. Raises `InvalidRequest`."""
        for canary in canaries:
            if canary.answer not in canary.choices or len(set(canary.choices)) != len(canary.choices):
                raise InvalidRequest(f"Canary '{canary.id}': its answer must be one of its choices, all different.", param="canaries")
        known = {canary.id: canary for canary in (*self._hidden, *canaries)}
        if len(known) > MAX_HIDDEN:
            raise InvalidRequest(f"That makes {len(known)} canaries: at most {MAX_HIDDEN} are kept.", param="canaries")
        self._hidden = list(known.values())
        self._runtime.random().shuffle(self._hidden)
        if self._keep is not None:
            await self._keep.save("canaries", msgspec.msgpack.encode(self._hidden))
        return len(self._hidden)

    def asked(self) -> None:
        """A real question was answered."""
        self._count += 1
        if self._hidden and self._count % EVERY == 0 and not self._waiting.full():
            self._waiting.put_nowait(None)

    async def run(self) -> None:
        """Ask canaries as questions come in and keep what is learnt of agents, until cancelled."""
        await self._restore()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_ledger(), name="ledger")
            while True:
                await self._waiting.get()
                await self.examine()

    async def _keep_ledger(self) -> None:
        """Whenever something was observed, by a canary or by a person's rating: to disk, then to the other raters."""
        while True:
            await self._ledger.changed.wait()
            self._ledger.changed.clear()
            if self._keep is not None:
                try:
                    await self._keep.save("ledger", self._ledger.dump())
                except UserError as error:  # the disk is full, for one: again in a moment
                    self._ledger.changed.set()
                    log.error("what was learnt of agents cannot be written down", reason=str(error))
            await self._ledger.publish()
            await asyncio.sleep(SAVE_S)

    async def examine(self) -> bool:
        """Ask the next canary and mark the answers; False when it could not be asked."""
        canary = self._hidden[self._next % len(self._hidden)]
        self._next += 1
        try:
            receipt, _ = await self._convene(
                Asking("choice", canary.question, tuple(canary.choices), (), "", None, None, None, DEFAULT_DEADLINE_S)
            )
        except UserError as error:
            log.info("a canary could not be asked", reason=str(error))
            return False
        self._mark(canary, receipt)
        return True

    def _mark(self, canary: Canary, receipt: Receipt) -> None:
        settled, key = settle(receipt), choices_key(canary.choices)
        for vote, own in zip(settled.votes, settled.tally.opinions, strict=True):
            logprobs = vote.logprobs if own.answer is not None else []
            self._ledger.mark(vote.agent_id, canary.id, Mark(logprobs, canary.right, own.answer == canary.answer, key, canary.topic))

    async def _restore(self) -> None:
        if self._keep is None:
            return
        if (ledger := await self._keep.load("ledger")) is not None:
            self._ledger.restore(ledger)
        if (kept := await self._keep.load("canaries")) is not None:
            self._hidden = [*_canaries.decode(kept), *self._hidden]
