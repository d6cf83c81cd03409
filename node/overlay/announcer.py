"""Says who this node is: every `ANNOUNCE_S` seconds, and soon after something changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.overlay.broadcast import Broadcast
from node.overlay.members import ANNOUNCE_S, DEAD_AFTER_S, TOPIC
from node.runtime import Runtime
from protocol.codec import encode
from protocol.messages import Announcement

SETTLE_S = 0.25
"""Changes within this time share one announcement: a flood of news stays within the origin's rate."""


class Announcer:
    """Owns the one task that publishes this node's announcement."""

    def __init__(self, runtime: Runtime, broadcast: Broadcast, compose: Callable[[], Announcement]) -> None:
        self._runtime = runtime
        self._broadcast = broadcast
        self._compose = compose
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something in the announcement changed; it goes out after `SETTLE_S`."""
        self._changed.set()

    async def announce(self) -> None:
        """Publish now."""
        self._changed.clear()
        await self._broadcast.publish(TOPIC, encode(self._compose()), 2 * DEAD_AFTER_S)

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            await self.announce()
            try:
                async with asyncio.timeout(ANNOUNCE_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_S)
