"""What a node learnt of agents finds its way to disk, also when the disk was full for a while."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import pytest

from node.council import examiner
from node.council.examiner import Convene, Examiner
from node.council.ledger import Ledger
from node.runtime import SystemRuntime
from protocol.errors import NotAvailable


class Disk:
    """Full at first."""

    def __init__(self) -> None:
        self.refused = 0
        self.kept = asyncio.Event()

    async def load(self, name: str) -> bytes | None:
        return None

    async def save(self, name: str, data: bytes) -> None:
        if self.refused < 2:
            self.refused += 1
            raise NotAvailable("The disk is full.", code="disk_full")
        self.kept.set()


async def test_a_ledger_that_found_no_room_is_written_when_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiner, "SAVE_S", 0.01)
    runtime, disk = SystemRuntime(), Disk()
    ledger = Ledger(runtime, b"me")
    running = asyncio.create_task(Examiner(runtime, cast(Convene, None), ledger, disk).run())
    ledger.rate(b"a" * 32, "sums", 1.0)
    async with asyncio.timeout(60):
        await disk.kept.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
