"""Writing behind: what changes often is put on disk a little later, and once more at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

SAVE_S = 1.0
"""A crash may forget what changed in the last such time."""
LAST_SAVE_S = 1.0
log = structlog.get_logger("agents")


class WriteBehind:
    """Calls `save` at most `SAVE_S` after `wake`; `what` names the changes for people."""

    def __init__(self, save: Callable[[], Awaitable[None]], what: str) -> None:
        self._save = save
        self._what = what
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(SAVE_S)
            self._news.clear()
            await self._save()

    async def close(self) -> None:
        """Write down what is still only in memory; bounded in time."""
        self._news.clear()
        try:
            async with asyncio.timeout(LAST_SAVE_S):
                await self._save()
        except TimeoutError:
            log.warning("the last changes were not written in time", what=self._what)
