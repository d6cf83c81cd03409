"""Files that a command leaves behind: whole or not there at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

from protocol.errors import InvalidRequest, UserError


def prepare(out: Path) -> None:
    """Make a folder and see that it can be written: before an hour of work, not after it. Raises `InvalidRequest`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".moot"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InvalidRequest(f"{out} cannot be written to ({error.strerror}): give another --out.", param="out") from error


def save(path: Path, content: bytes, remedy: str) -> None:
    """Write beside it, then put it in its place: a full disk leaves no half file, and keeps what was there.

    Raises `UserError`: what was not written, why, and `remedy`.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(f"{path} was not written ({error.strerror}): {remedy}") from error
