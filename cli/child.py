"""Daemons that live no longer than the command that started them: the demo's, the benchmarks' and the live tests'."""

from __future__ import annotations

import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cli.client import Client
from cli.daemons import LOG, START_S, start
from cli.target import DaemonUnreachable, read_api_file
from protocol.api.nodes import NodeInfo, Ready
from protocol.errors import NotAvailable, UserError

STOP_S = 30.0
"""A daemon that leaves moves its agents away first (`node.daemon.MOVE_S`)."""
LOG_TAIL = 4_000


class ChildDaemon:
    """One `moot up` process with a data directory of its own."""

    def __init__(self, data_dir: Path, flags: Sequence[str]) -> None:
        self.data_dir = data_dir
        self._starting = start(data_dir, flags)
        self.process: subprocess.Popen[bytes] = self._starting.process
        self.ready: Ready | None = None

    @property
    def client(self) -> Client:
        """A client with the admin token; the API answers before the node is ready."""
        found = read_api_file(self.data_dir)
        return Client(found.api, found.admin_token)

    @property
    def address(self) -> str:
        """HOST:PORT that others dial. Only once ready."""
        if self.ready is None:
            raise NotAvailable("The daemon is not ready yet.")
        return self.ready.address

    def wait_ready(self, timeout_s: float = START_S) -> Ready:
        """Wait for the ready line. Raises `UserError` with the daemon's last words when it fails or takes too long."""
        ready = self.poll_ready(timeout_s)
        if ready is None:
            raise NotAvailable(f"A daemon was not ready after {timeout_s:.0f} s: {self.log_tail()}")
        return ready

    def poll_ready(self, timeout_s: float) -> Ready | None:
        """The ready line, if it comes within `timeout_s` seconds. Raises `UserError` when the daemon ended instead."""
        assert self.process.stdout is not None, "started with a pipe"
        if self.ready is None and select.select([self.process.stdout], [], [], timeout_s)[0]:
            self.ready = self._starting.ready()
        return self.ready

    def look(self) -> NodeInfo | None:
        """What the node says of itself while it starts; None while its API is not up."""
        try:
            return self.client.get("/v1/node", NodeInfo)
        except (DaemonUnreachable, UserError):
            return None

    def log_tail(self) -> str:
        return (self.data_dir / LOG).read_bytes()[-LOG_TAIL:].decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL: the crash that a swarm must survive."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM and wait; returns the exit code. One that does not end is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode
