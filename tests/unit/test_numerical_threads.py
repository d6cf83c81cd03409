"""A daemon's numpy computes on one thread; whoever starts it may choose otherwise, and torch's threads are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

DAEMON = """
import json, os, sys
from node import daemon

assert "numpy" not in sys.modules, "numpy has read its settings before the daemon could make them"

async def serve(*rest):
    import numpy
    from threadpoolctl import threadpool_info
    threads = [pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"]
    print(json.dumps({"threads": threads, "environment": dict(os.environ)}))
    return 0

daemon.serve = serve
sys.exit(daemon.run(None, None, None, None))
"""
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOTO_NUM_THREADS")


def daemon(**chosen: str) -> dict[str, Any]:
    """How many threads OpenBLAS has in a daemon (none where numpy is built on another library), and the daemon's environment."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | chosen
    done = subprocess.run([sys.executable, "-c", DAEMON], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=100)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_numpy_in_a_daemon_has_one_thread_and_torch_as_many_as_it_likes() -> None:
    found = daemon()
    assert set(found["threads"]) <= {1}
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}.isdisjoint(found["environment"])


def test_what_whoever_starts_the_daemon_chose_stays() -> None:
    assert daemon(OPENBLAS_NUM_THREADS="2")["environment"]["OPENBLAS_NUM_THREADS"] == "2"
