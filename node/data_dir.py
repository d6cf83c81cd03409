"""The data directory: private, used by one daemon at a time, and what in it is neither identity nor database.

lock         held (flock) by the daemon that uses the directory; holds its process id
ports.json   the ports chosen when 0 was asked for: a node keeps its address over restarts
api.json     how commands on this machine find their daemon (0600)
blobs/       content-addressed values (`node.blobs`)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from protocol.api.nodes import ApiFile
from protocol.errors import Conflict, NotAvailable


class Ports(msgspec.Struct, frozen=True):
    """Ports that were chosen by the system once."""

    link: int = 0
    api: int = 0


class DataDir:
    """Opens and locks the directory; `close` releases it."""

    def __init__(self, path: Path) -> None:
        """Raises `Conflict` when another daemon holds it, `NotAvailable` when it cannot be written."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            self._lock: IO[str] = (path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise NotAvailable(f"The data directory {path} cannot be used: {error.strerror}. Choose another with --data-dir.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise Conflict(
                f"The data directory {path} is in use by another daemon (process {holder}): "
                "stop it with `moot stop`, or choose another with --data-dir.",
                code="data_dir_in_use",
            ) from error
        with self._written():
            self._lock.truncate(0)
            self._lock.write(str(os.getpid()))
            self._lock.flush()

    def ports(self) -> Ports:
        """What was remembered; nothing when the file is missing or unreadable."""
        try:
            return msgspec.json.decode((self.path / "ports.json").read_bytes(), type=Ports)
        except (OSError, msgspec.MsgspecError):
            return Ports()

    def remember_ports(self, ports: Ports) -> None:
        """Raises `NotAvailable`, when the disk is full for instance."""
        with self._written():
            write_private(self.path / "ports.json", msgspec.json.encode(ports))

    def write_api_file(self, content: ApiFile) -> None:
        """Raises `NotAvailable`, when the disk is full for instance."""
        with self._written():
            write_private(self.path / "api.json", msgspec.json.encode(content))

    def close(self) -> None:
        """Forget the API and release the lock."""
        (self.path / "api.json").unlink(missing_ok=True)
        self._lock.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NotAvailable(
                f"The data directory {self.path} cannot be written ({error.strerror}): make room, or choose another with --data-dir."
            ) from error


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically; readable by its owner alone."""
    temporary = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
