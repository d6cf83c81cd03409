"""Daemons on this machine as processes: start one detached, wait until one is gone.

A daemon holds an exclusive lock on `lock` in its data directory for as long as it lives (`node/data_dir.py`), so waiting for a shared
lock is waiting for the daemon, without looking again and again. The file holds its process id.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cli.client import Client
from cli.target import read_api_file
from protocol.api.nodes import Ready, StopReply
from protocol.errors import NotAvailable, UserError

START_S = 300.0
"""Seconds that a daemon may take to be ready: the first start joins and loads weights."""
GONE_S = 10.0
LOG = "daemon.log"


@dataclass(frozen=True, slots=True)
class Starting:
    """A daemon that was started and is not ready yet."""

    data_dir: Path
    process: subprocess.Popen[bytes]

    def ready(self) -> Ready:
        """Wait for its one line on stdout. Raises `NotAvailable` with its own last words when it fails or takes too long."""
        stdout = self.process.stdout
        assert stdout is not None, "started with a pipe"
        with stdout:
            line = stdout.readline() if select.select([stdout], [], [], START_S)[0] else b""
        try:
            return msgspec.json.decode(line, type=Ready)
        except msgspec.MsgspecError as error:
            self.process.terminate()
            raise NotAvailable(f"The daemon in {self.data_dir} did not start: {self._last_words()}.") from error

    def _last_words(self) -> str:
        lines = (self.data_dir / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return (lines[-1] if lines else "it said nothing").removeprefix("moot: ").rstrip(".")


def start(data_dir: Path, flags: Sequence[str]) -> Starting:
    """`moot up --json` with these flags, detached from this terminal; its messages go to a file in its data directory."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        (data_dir / LOG).touch()
    except OSError as error:
        raise NotAvailable(f"{data_dir} cannot be used ({error.strerror}): choose another with --data-dir.") from error
    command = [sys.executable, "-m", "cli", "up", "--json", "--data-dir", str(data_dir), *flags]
    with (data_dir / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True, env=_environment()
        )
    return Starting(data_dir, process)


def is_running(data_dir: Path) -> bool:
    """Whether a daemon holds the directory."""
    try:
        with (data_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def wait_until_gone(data_dir: Path, timeout_s: float = GONE_S) -> bool:
    """True once no daemon holds the directory; False when one still does after `timeout_s` seconds."""
    waiter = threading.Thread(target=_wait_for_lock, args=(data_dir / "lock",), daemon=True)
    waiter.start()
    waiter.join(timeout_s)
    return not waiter.is_alive()


def stop(data_dir: Path) -> None:
    """Stop whichever daemon holds the directory: over HTTP, else by signal, in the end by force.

    Raises `UserError` when it outlives even that.
    """
    try:
        found = read_api_file(data_dir)
        Client(found.api, found.admin_token, timeout_s=5.0).post("/v1/stop", StopReply)
    except UserError:  # gone already, hung, or its api.json is another daemon's
        _signal(data_dir, signal.SIGTERM)
    if not wait_until_gone(data_dir):
        _signal(data_dir, signal.SIGKILL)
        if not wait_until_gone(data_dir):
            raise UserError(f"The daemon in {data_dir} cannot be stopped: end its process yourself.")


def holder(data_dir: Path) -> int | None:
    """The process that holds the directory; None where none does."""
    if not is_running(data_dir):
        return None  # the file outlives the daemon
    named = (data_dir / "lock").read_text(encoding="ascii").strip()
    return int(named) if named.isdecimal() else None


def terminate(data_dir: Path) -> None:
    """Ask whichever process holds the directory to end: for a daemon whose API does not answer."""
    _signal(data_dir, signal.SIGTERM)


def _wait_for_lock(path: Path) -> None:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return


def _signal(data_dir: Path, number: signal.Signals) -> None:
    """To the holder of the lock, and to nobody where the lock is free."""
    process = holder(data_dir)
    if process is not None:
        os.kill(process, number)


def _environment() -> dict[str, str]:
    """Ours, less what would give every daemon the same place or port; the packages must be importable from anywhere."""
    single = {"MOOT_DATA_DIR", "MOOT_PORT", "MOOT_API_PORT", "MOOT_NAME", "MOOT_ADVERTISE", "MOOT_BOOTSTRAP", "MOOT_TOKEN"}
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH", "")) if part)
    return {name: value for name, value in os.environ.items() if name not in single} | {"PYTHONPATH": path}
