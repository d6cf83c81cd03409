"""Blobs as files of one folder, each under the hash of its bytes: what is kept, and what goes when room is needed.

A file is written under another name and then renamed; it is not flushed to the disk, for what a power cut spoils is found by its hash and
fetched again. What is too much goes, least recently used first (after a restart: first written), unless it is pinned (pins outlive the
process). What a peer had us keep is never pinned, and of one peer no more than a quarter of the room and of the places.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import structlog

from node.runtime import Runtime
from protocol.errors import NotAvailable, RequestTooLarge
from protocol.messages import MAX_BLOB, MAX_CHUNK

MAX_BLOBS = 4_096
PINNED = ".pinned"

log = structlog.get_logger("blobs")


@dataclass(slots=True)
class _Held:
    """One blob here."""

    size: int
    pinned: bool
    origin: bytes = b""
    """The peer that had us keep it; unknown after a restart."""


class BlobFiles:
    """The blobs of one node. Reads its folder once, when it is made."""

    def __init__(self, runtime: Runtime, folder: Path, room: int) -> None:
        """`folder`: this node's alone; `room`: bytes of all blobs. Raises `NotAvailable`."""
        self._runtime = runtime
        self._folder = folder
        self.room = room
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        """Least recently used first."""
        self.total = 0
        """Bytes of all blobs here."""
        self._names = count()
        self._look()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._held

    def size(self, digest: bytes) -> int | None:
        """Bytes of a blob; None when it is not here."""
        held = self._held.get(digest)
        return None if held is None else held.size

    def used(self, digest: bytes) -> None:
        """Somebody wants it: others go before it."""
        if digest in self._held:
            self._held.move_to_end(digest)

    async def read(self, digest: bytes) -> bytes | None:
        """The bytes if they are here and whole; what is damaged or gone is forgotten, what cannot be read just now is not."""
        while (held := self._held.get(digest)) is not None:
            path = self._path(digest, held.pinned)
            try:
                data = await self._runtime.run_blocking(_whole, path, digest)
            except FileNotFoundError:
                if path == self._path(digest, held.pinned):  # else it was pinned or unpinned meanwhile: look again
                    self._drop(digest)
            except OSError as error:
                log.warning("a blob cannot be read", digest=digest.hex(), reason=str(error))
                return None
            else:
                if data is None:
                    self._drop(digest)
                self.used(digest)
                return data
        return None

    async def part(self, digest: bytes, offset: int) -> bytes | None:
        """At most `MAX_CHUNK` bytes from `offset` on; None when they cannot be read."""
        while (held := self._held.get(digest)) is not None:
            path = self._path(digest, held.pinned)
            self.used(digest)
            try:
                return await self._runtime.run_blocking(_part, path, offset)
            except FileNotFoundError:
                if path == self._path(digest, held.pinned):
                    self._drop(digest)
            except OSError as error:
                log.warning("a blob cannot be read", digest=digest.hex(), reason=str(error))
                return None
        return None

    async def keep(self, data: bytes, *, pin: bool = False, origin: bytes = b"") -> bytes:
        """Keep it, for a peer where `origin` is one, and return its digest. Raises `RequestTooLarge`, or `NotAvailable` when the disk or
        what is pinned leaves no room."""
        if len(data) > MAX_BLOB:
            raise RequestTooLarge(f"A blob of {len(data)} bytes is too long: at most {MAX_BLOB}.")
        digest = await self._runtime.run_blocking(digest_of, data)
        if digest not in self._held:
            self._make_room(len(data))
            path = self._path(digest, pin)
            try:
                await self._runtime.run_blocking(_write, path, self._folder / f"{next(self._names)}.new", data)
            except OSError as error:
                raise NotAvailable(f"The blob was not kept in {self._folder} ({error.strerror}): make room on the disk.") from error
            if digest not in self._held:
                self._held[digest] = _Held(len(data), pin, origin)
                self.total += len(data)
                return digest
            if self._held[digest].pinned != pin:  # written twice at once: one file is enough
                _remove(path)
        held = self._held[digest]
        self._held.move_to_end(digest)
        if pin and not held.pinned:
            self._pin(digest, held, True)
            if not held.pinned:
                raise NotAvailable(f"The blob was not pinned in {self._folder}: check the disk and who may write there.")
        return digest

    def unpin(self, digest: bytes) -> None:
        """From now on it may make room for others."""
        held = self._held.get(digest)
        if held is not None and held.pinned:
            self._pin(digest, held, False)

    def discard(self, digest: bytes, origin: bytes) -> None:
        """Gone from here, unless it is pinned or somebody else had us keep it."""
        held = self._held.get(digest)
        if held is not None and not held.pinned and held.origin == origin:
            self._drop(digest)

    def make_way(self, origin: bytes, size: int) -> None:
        """What one peer had us keep stays within its share: its own oldest go first."""
        theirs = [(digest, held.size) for digest, held in self._held.items() if held.origin == origin and not held.pinned]
        share, places = sum(held for _, held in theirs) + size, len(theirs) + 1
        for digest, held_size in theirs:
            if share <= self.room // 4 and places <= MAX_BLOBS // 4:
                return
            self._drop(digest)
            share, places = share - held_size, places - 1

    def _make_room(self, size: int) -> None:
        """Raises `NotAvailable` when too much is pinned."""
        loose = [digest for digest, held in self._held.items() if not held.pinned]
        while self.total + size > self.room or len(self._held) >= MAX_BLOBS:
            if not loose:
                raise NotAvailable(f"No room for a blob of {size} bytes: all {self.total} bytes held here are pinned.")
            self._drop(loose.pop(0))

    def _pin(self, digest: bytes, held: _Held, pinned: bool) -> None:
        try:
            self._path(digest, held.pinned).replace(self._path(digest, pinned))
        except FileNotFoundError:
            self._drop(digest)
            return
        except OSError as error:
            log.warning("a pin was not changed", digest=digest.hex(), reason=str(error))
            return
        held.pinned = pinned

    def _drop(self, digest: bytes) -> None:
        held = self._held.pop(digest, None)
        if held is not None:
            self.total -= held.size
            _remove(self._path(digest, held.pinned))

    def _path(self, digest: bytes, pinned: bool) -> Path:
        return self._folder / (digest.hex() + (PINNED if pinned else ""))

    def _look(self) -> None:
        """What an earlier life left, oldest first; half-written files go. Raises `NotAvailable`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = sorted((path.stat().st_mtime, path.name, path.stat().st_size) for path in self._folder.iterdir() if path.is_file())
        except OSError as error:
            raise NotAvailable(f"The folder {self._folder} cannot be used ({error.strerror}): choose another --data-dir.") from error
        for _, name, size in found:
            stem = name.removesuffix(PINNED)
            if len(stem) == 64 and not set(stem) - set("0123456789abcdef") and size <= MAX_BLOB:
                self._drop(bytes.fromhex(stem))  # both pinned and not: one file is enough
                self._held[bytes.fromhex(stem)] = _Held(size, name.endswith(PINNED))
                self.total += size
            elif name.endswith(".new"):
                _remove(self._folder / name)


def digest_of(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def _write(path: Path, temporary: Path, data: bytes) -> None:
    """Whole or not at all."""
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(MAX_CHUNK)


def _whole(path: Path, digest: bytes) -> bytes | None:
    """The bytes, or None when they are not those of the digest."""
    data = path.read_bytes()
    return data if hashlib.sha256(data).digest() == digest else None


def _remove(path: Path) -> None:
    """A file that does not go is found again by the next life of the node."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a blob's file was not removed", file=path.name, reason=str(error))
