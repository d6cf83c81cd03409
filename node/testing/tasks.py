"""Tasks of nodes that would run for ever, in tests and benchmarks that come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Over(Exception):
    """Makes a TaskGroup cancel what still runs."""


@asynccontextmanager
async def tasks_until_left() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose tasks are cancelled when the block ends. Raises, as an ExceptionGroup, what the block or a task raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            raise _Over
    except* _Over:
        pass
