"""What the council costs: 16 tiny agents on 8 real nodes in 4 processes, against a plain HTTP fan-out to the same agents.

Both are asked over HTTP through the same node, in turns. The fan-out has no commitments, signatures or receipt (`overhead_host`).
Timings are as good as the machine is quiet.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp

from node.runtime import SystemRuntime

RUNTIME = SystemRuntime()
PROCESSES, NODES_EACH, AGENTS_EACH = 4, 2, 2
NODES = PROCESSES * NODES_EACH
TURNS, EACH, AT_ONCE, WIDTH = 8, 15, 200, 12
START_S = 120.0
BODY = {"question": "Which of these is a colour?", "choices": ["red", "seven"]}


async def _start(root: Path, first: int, bootstrap: list[str]) -> tuple[Process, list[dict[str, str]]]:
    """One process with two nodes, ready."""
    settings = [
        {
            "data_dir": str(root / f"n{number}"),
            "name": f"n{number}",
            "host": "127.0.0.1",
            "port": 0,
            "api_port": 0,
            "brains": ["tiny"],
            "agents": AGENTS_EACH,
            "capacity": AGENTS_EACH,
            "open": True,
            "bootstrap": bootstrap,
        }
        for number in range(first, first + NODES_EACH)
    ]
    command = [sys.executable, "-m", "tests.bench.overhead_host", json.dumps(settings)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        return process, [json.loads(await process.stdout.readline()) for _ in settings]


async def _measure() -> dict[str, Any]:
    processes: list[Process] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            nodes: list[dict[str, str]] = []
            for number in range(PROCESSES):
                process, started = await _start(Path(folder), number * NODES_EACH, [nodes[0]["address"]] if nodes else [])
                processes.append(process)
                nodes += started
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                return await _compare(session, nodes)
        finally:
            for process in processes:
                process.kill()
                await process.wait()


async def _compare(session: aiohttp.ClientSession, nodes: list[dict[str, str]]) -> dict[str, Any]:
    async def post(url: str, body: Any) -> Any:
        async with session.post(url, json=body) as reply:
            return await reply.json()

    async def ours() -> int:
        answer = await post(f"{nodes[0]['api']}/v1/consensus", BODY | {"agents": NODES * AGENTS_EACH})
        return len(answer["votes"])

    async def plain() -> int:
        votes: int = (await post(f"{nodes[0]['door']}/ask", BODY))["votes"]
        return votes

    await post(f"{nodes[0]['door']}/others", [node["door"] for node in nodes])
    async with asyncio.timeout(START_S):
        while await ours() < NODES * AGENTS_EACH:
            await asyncio.sleep(0.5)
    waits: dict[str, list[float]] = {"council": [], "plain fan-out": []}
    for _ in range(TURNS):
        for name, ask in (("council", ours), ("plain fan-out", plain)):
            waits[name] += [await _timed(ask) for _ in range(EACH)]
    figures: dict[str, Any] = {"votes of 16 at the end": await ours()}
    for name, each in waits.items():
        figures[name] = {"p50 ms": round(median(each), 2), "p95 ms": round(quantiles(each, n=20)[18], 2)}
    figures["council"]["a second"] = round(await _at_once(ours), 1)
    figures["plain fan-out"]["a second"] = round(await _at_once(plain), 1)
    return figures


async def _timed(ask: Callable[[], Awaitable[int]]) -> float:
    began = RUNTIME.monotonic()
    await ask()
    return (RUNTIME.monotonic() - began) * 1e3


async def _at_once(ask: Callable[[], Awaitable[int]]) -> float:
    """Questions a second with `WIDTH` under way."""
    gate = asyncio.Semaphore(WIDTH)

    async def one() -> None:
        async with gate:
            await ask()

    began = RUNTIME.monotonic()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return AT_ONCE / (RUNTIME.monotonic() - began)


def measure_overhead() -> dict[str, Any]:
    return asyncio.run(_measure())
