"""What the council costs: 16 tiny agents on 8 real nodes in 4 processes, against a plain HTTP fan-out that asks the same nodes.

Each process runs two daemons in one event loop, with TLS links and the API. The fan-out asks each of the 8 nodes over HTTP for the vote of
its own two agents (`moot`'s own route, panel of two) with no commitments, signatures of others or receipt of the whole: what a
client could do without a council. Timings are as good as the machine is quiet.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp

from node.runtime import SystemRuntime

RUNTIME = SystemRuntime()
PROCESSES, NODES_EACH, AGENTS_EACH = 4, 2, 2
QUESTIONS, WIDTH, ROUNDS = 100, 16, 12
MEET_S = 60.0
BODY = {"question": "Which is a colour?", "choices": ["red", "seven"], "agents": 16}

HOST = """
import asyncio, json, sys
from pathlib import Path
from node.config import Config
from cli.commands.up import *
"""


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(url, json=body) as reply:
        answer: dict[str, Any] = await reply.json()
        return answer
