"""Two whole nodes in one process for the overhead benchmark, each with a bare HTTP door beside its API.

`POST /vote` lets the node's own agents answer: no signature, no commitment. `POST /ask` asks every `/vote` it was told of and counts:
the plain fan-out that the council is compared with.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from node.admission import obtain_credentials
from node.brains.registry import plan
from node.config import load_config
from node.daemon import Node, log_to_stderr
from node.data_dir import DataDir
from node.keyring import Keyring
from node.parts import Parts
from node.runtime import SystemRuntime
from node.situation import Situation
from node.store import Store
from protocol.api.nodes import Ready
from protocol.ballots import Question

VOTE_S = 10.0


class Door:
    """The bare HTTP door of one node."""

    def __init__(self, parts: Parts, runtime: SystemRuntime) -> None:
        self._parts = parts
        self._runtime = runtime
        self._others: list[str] = []
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> str:
        app = web.Application()
        app.add_routes([web.post("/vote", self._vote), web.post("/ask", self._ask), web.post("/others", self._meet)])
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _meet(self, request: web.Request) -> web.Response:
        self._others = await request.json()
        return web.json_response({})

    async def _vote(self, request: web.Request) -> web.Response:
        body = await request.json()
        question = Question(self._runtime.token_bytes(20), "choice", body["question"], body["choices"], [], "", self._runtime.now())
        agents = [agent.agent_id for agent in self._parts.host.summaries()]
        votes, _ = await self._parts.host.vote(question, agents, VOTE_S)
        return web.json_response([vote.logprobs for vote in votes])

    async def _ask(self, request: web.Request) -> web.Response:
        body = await request.json()
        replies = await asyncio.gather(*(self._one(other, body) for other in self._others))
        best = Counter(max(range(len(one)), key=one.__getitem__) for reply in replies for one in reply)
        return web.json_response({"answer": body["choices"][best.most_common(1)[0][0]], "votes": sum(best.values())})

    async def _one(self, other: str, body: dict[str, Any]) -> list[list[float]]:
        assert self._session is not None
        async with self._session.post(f"{other}/vote", json=body) as reply:
            votes: list[list[float]] = await reply.json()
            return votes


async def live(settings: dict[str, Any], first: asyncio.Future[str]) -> None:
    """One node, until the process is killed; says where it is on stdout. Dials the process's first node, unless it is that."""
    runtime = SystemRuntime()
    config = load_config({**settings, "data_dir": Path(settings["data_dir"])}, {}, None)
    lineup, data = plan(config, runtime), DataDir(config.data_dir)
    keyring = Keyring(config.data_dir, runtime)
    credentials = await obtain_credentials(keyring, runtime, open_swarm=True, bootstrap=config.bootstrap, token=None)
    situation = Situation(credentials, runtime.token_bytes(24).hex(), [])
    parts = Parts(config, runtime, Store(config.database, runtime), keyring, lineup, situation, lambda *_: None)
    door = await Door(parts, runtime).open()

    def on_ready(ready: Ready) -> None:
        if not first.done():
            first.set_result(ready.address)
        print(json.dumps({"address": ready.address, "api": ready.api, "door": door}), flush=True)

    await Node(config, runtime, data, keyring, parts, situation).run(on_ready)


async def main() -> None:
    log_to_stderr("error")
    async with asyncio.TaskGroup() as tasks:
        first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for number, settings in enumerate(json.loads(sys.argv[1])):
            known = [await first] if number else []
            tasks.create_task(live({**settings, "bootstrap": [*settings["bootstrap"], *known]}, first))


if __name__ == "__main__":
    asyncio.run(main())
