"""The real runtime's worker: one thread, results and errors to their caller, and no say in when the process ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from node.runtime import SystemRuntime


async def test_calls_run_one_after_another_in_one_thread() -> None:
    worker = SystemRuntime().worker("test")
    names = [await worker.run(lambda: threading.current_thread().name) for _ in range(5)]
    assert names == ["test"] * 5
    worker.close()


async def test_what_a_call_raises_reaches_its_caller_and_the_next_call_is_served() -> None:
    worker = SystemRuntime().worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: 7) == 7
    worker.close()


async def test_a_caller_may_give_up() -> None:
    worker, released = SystemRuntime().worker("test"), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await worker.run(released.wait, 20)
    released.set()
    assert await worker.run(lambda: 7) == 7
    worker.close()


def test_a_call_under_way_does_not_hold_up_the_end_of_the_process() -> None:
    code = """
import asyncio, threading
from node.runtime import SystemRuntime

async def main():
    started = threading.Event()
    call = asyncio.create_task(SystemRuntime().worker("long").run(lambda: (started.set(), threading.Event().wait())))
    await asyncio.to_thread(started.wait)
    call.cancel()

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0
