"""Large values under the hash of their bytes: kept as files, copied to peers, fetched from whoever holds them.

    put(data) -> digest             keep it here
    spread(digest, peers, copies)   have peers keep it too; who says that it does
    fetch(digest, holders)          from here, else from the first holder whose bytes have that hash

    keeper                          peer
    BlobOffer(digest, size)    --->  within what it takes from one peer?
                 BlobRequest  <---  chunk by chunk, the hash checked at the end
    BlobChunk                  --->
                        Done  <---  on disk

A file is written under another name and then renamed; it is not flushed to the disk, for what a power cut spoils is found by its hash and
fetched again. What is too much goes, least recently used first (after a restart: first written), unless it is pinned
(`put(..., pin=True)`; pins outlive the process). What peers had us keep is never pinned, and of one peer no more than a quarter of the
room. First form: copies are not counted and not renewed when their holders die, and nobody but the caller knows who holds what (a record
in the DHT may say so).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import structlog

from node.links.courier import Courier
from node.runtime import Runtime
from protocol.errors import (
    BadSignature,
    InvalidRequest,
    Malformed,
    MootError,
    NotAvailable,
    PeerError,
    Refused,
    RequestTooLarge,
    Unreachable,
)
from protocol.identity import Member, NodeId, show_id
from protocol.messages import MAX_BLOB, MAX_CHUNK, BlobChunk, BlobOffer, BlobRequest, Done

MAX_TOTAL = 256 * 1024 * 1024
"""Bytes of all blobs here."""
MAX_BLOBS = 4_096
CHUNK_S = 10.0
"""Wait for one chunk."""
FETCH_S = 60.0
"""One deadline for a whole fetch, and for a peer to take a copy."""
MAX_HOLDERS = 8
"""Holders tried in one fetch."""
MAX_TAKING = 4
"""Offers of peers taken at once; with `MAX_BLOB` each, the memory they may cost."""
CHUNKS_PER_S = 64.0
"""Chunks a second that one peer is served: 16 MiB."""
OFFERS_PER_S = 1.0
BURST_OFFERS = 32.0
MAX_PEERS = 1_024
"""Peers whose rates are remembered."""
PINNED = ".pinned"

log = structlog.get_logger("blobs")


@dataclass(slots=True)
class _Held:
    """One blob here."""

    size: int
    pinned: bool
    origin: bytes = b""
    """The peer that had us keep it; unknown after a restart."""


@dataclass(slots=True)
class _Allowance:
    """A token bucket: what one peer may still ask for."""

    credit: float
    at: float

    def take(self, now: float, rate: float, burst: float) -> bool:
        self.credit = min(burst, self.credit + (now - self.at) * rate)
        self.at = now
        if self.credit < 1.0:
            return False
        self.credit -= 1.0
        return True


class Blobs:
    """The blobs of one node. Reads its folder once, when it is made."""

    def __init__(self, runtime: Runtime, folder: Path, courier: Courier, *, room: int = MAX_TOTAL) -> None:
        """`folder`: this node's alone; `room`: bytes of all blobs."""
        self._runtime = runtime
        self._folder = folder
        self._courier = courier
        self._room = room
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        """Least recently used first."""
        self._served: dict[bytes, _Allowance] = {}
        self._offered: dict[bytes, _Allowance] = {}
        self._taking = 0
        self._names = count()
        self._look()
        courier.on(BlobOffer, self._take)
        courier.on(BlobRequest, self._serve)

    # ---- here --------------------------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Bytes of all blobs here."""
        return sum(held.size for held in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def held(self, digest: bytes) -> bool:
        """Whether it is here; its bytes are checked when they are read."""
        return digest in self._held

    async def put(self, data: bytes, *, pin: bool = False) -> bytes:
        """Keep it and return its digest. Raises `RequestTooLarge`, or `NotAvailable` when the disk or what is pinned leaves no room."""
        return await self._keep(data, pin, b"")

    async def get(self, digest: bytes) -> bytes | None:
        """The bytes if they are here and whole."""
        held = self._held.get(digest)
        if held is None:
            return None
        try:
            data = await self._runtime.run_blocking(self._path(digest, held.pinned).read_bytes)
        except OSError as error:
            log.warning("a blob cannot be read", digest=digest.hex(), reason=str(error))
            data = b""
        if hashlib.sha256(data).digest() != digest:
            self._drop(digest)
            return None
        if digest in self._held:
            self._held.move_to_end(digest)
        return data

    def unpin(self, digest: bytes) -> None:
        """From now on it may make room for others."""
        held = self._held.get(digest)
        if held is not None and held.pinned:
            self._pin(digest, held, False)

    # ---- elsewhere ---------------------------------------------------------------------------------------------------

    async def fetch(self, digest: bytes, holders: Sequence[bytes], timeout: float = FETCH_S) -> bytes:
        """The bytes, from here or from the first holder that has them; they are kept. Raises `Unreachable` when nobody gave them."""
        data = await self.get(digest)
        if data is not None:
            return data
        reasons: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                for holder in holders[:MAX_HOLDERS]:
                    try:
                        data = await self._download(digest, NodeId(holder), MAX_BLOB)
                        break
                    except PeerError as error:
                        reasons.append(f"{show_id(NodeId(holder))[:8]}: {error}")
        except TimeoutError:
            reasons.append(f"{timeout:.0f} s are over")
        if data is None:
            raise Unreachable(f"nobody gave blob {digest.hex()[:16]} ({'; '.join(reasons) or 'no holder is known'})")
        try:
            await self._keep(data, False, b"")
        except NotAvailable as error:
            log.warning("a fetched blob is not kept", reason=str(error))
        return data

    async def spread(self, digest: bytes, peers: Sequence[bytes], copies: int) -> list[bytes]:
        """Have `copies` of the peers keep it, the first ones where they will; returns those that confirmed. Raises `InvalidRequest`."""
        held = self._held.get(digest)
        if held is None:
            raise InvalidRequest(f"Blob {digest.hex()[:16]} is not on this node: put or fetch it first.")
        waiting, kept = list(dict.fromkeys(peers)), list[bytes]()

        async def lane() -> None:
            while waiting:
                peer = waiting.pop(0)
                if await self._offer(BlobOffer(digest, held.size), NodeId(peer)):
                    kept.append(peer)
                    return

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(copies, len(waiting))):
                lanes.create_task(lane())
        return kept

    async def _offer(self, offer: BlobOffer, peer: NodeId) -> bool:
        try:
            return isinstance(await self._courier.request(peer, offer, FETCH_S), Done)
        except PeerError as error:
            log.info("a copy was not taken", peer=show_id(peer), reason=str(error))
            return False

    async def _download(self, digest: bytes, holder: NodeId, limit: int) -> bytes:
        """All chunks from one holder, checked. Raises `PeerError`."""
        data = bytearray()
        while True:
            chunk = await self._courier.request(holder, BlobRequest(digest, len(data)), CHUNK_S)
            if not isinstance(chunk, BlobChunk):
                raise Malformed("a chunk was asked for")
            data += chunk.data
            if chunk.total > limit or len(data) > chunk.total or (not chunk.data and len(data) < chunk.total):
                raise Malformed("the chunks do not add up to the blob")
            if len(data) == chunk.total:
                break
        whole = bytes(data)
        if await self._runtime.run_blocking(_digest, whole) != digest:
            raise BadSignature("the bytes do not have the blob's hash")
        return whole

    # ---- for peers ---------------------------------------------------------------------------------------------------

    async def _take(self, peer: Member, offer: BlobOffer) -> Done:
        """A peer asks us to keep a copy. Raises `Refused`."""
        if offer.digest in self._held:
            self._held.move_to_end(offer.digest)
            return Done()
        if not self._allowance(self._offered, peer, BURST_OFFERS).take(self._runtime.monotonic(), OFFERS_PER_S, BURST_OFFERS):
            raise Refused("rate", f"more than {OFFERS_PER_S:.0f} offers a second")
        if self._taking >= MAX_TAKING or offer.size > self._room // 4:
            raise Refused("busy", "this node takes no such blob now")
        self._taking += 1
        try:
            async with asyncio.timeout(FETCH_S):
                data = await self._download(offer.digest, peer.node_id, offer.size)
            self._make_way(peer.node_id, len(data))
            await self._keep(data, False, peer.node_id)
        except TimeoutError as error:
            raise Refused("slow", f"the blob did not come within {FETCH_S:.0f} s") from error
        except MootError as error:
            raise Refused("failed", str(error)[:500]) from error
        finally:
            self._taking -= 1
        return Done()

    async def _serve(self, peer: Member, request: BlobRequest) -> BlobChunk:
        """Part of a blob. Raises `Refused`."""
        held = self._held.get(request.digest)
        if held is None:
            raise Refused("unknown", "this node does not hold the blob")
        if request.offset > held.size:
            raise Refused("offset", "the blob is shorter")
        if not self._allowance(self._served, peer, CHUNKS_PER_S).take(self._runtime.monotonic(), CHUNKS_PER_S, CHUNKS_PER_S):
            raise Refused("rate", f"more than {CHUNKS_PER_S:.0f} chunks a second")
        self._held.move_to_end(request.digest)
        try:
            data = await self._runtime.run_blocking(_part, self._path(request.digest, held.pinned), request.offset)
        except OSError as error:
            self._drop(request.digest)
            raise Refused("unknown", "this node cannot read the blob any more") from error
        return BlobChunk(held.size, data)

    def _allowance(self, table: dict[bytes, _Allowance], peer: Member, burst: float) -> _Allowance:
        if peer.node_id not in table and len(table) >= MAX_PEERS:
            del table[next(iter(table))]
        return table.setdefault(peer.node_id, _Allowance(burst, self._runtime.monotonic()))

    # ---- files -------------------------------------------------------------------------------------------------------

    async def _keep(self, data: bytes, pin: bool, origin: bytes) -> bytes:
        if len(data) > MAX_BLOB:
            raise RequestTooLarge(f"A blob of {len(data)} bytes is too long: at most {MAX_BLOB}.")
        digest = await self._runtime.run_blocking(_digest, data)
        if digest not in self._held:
            self._make_room(len(data))
            path = self._path(digest, pin)
            try:
                await self._runtime.run_blocking(_write, path, self._folder / f"{next(self._names)}.new", data)
            except OSError as error:
                raise NotAvailable(f"The blob was not kept in {self._folder} ({error.strerror}): make room on the disk.") from error
            if digest not in self._held:
                self._held[digest] = _Held(len(data), pin, origin)
                return digest
            if self._held[digest].pinned != pin:  # written twice at once: one file is enough
                path.unlink(missing_ok=True)
        held = self._held[digest]
        self._held.move_to_end(digest)
        if pin and not held.pinned:
            self._pin(digest, held, True)
        return digest

    def _make_room(self, size: int) -> None:
        """Raises `NotAvailable` when too much is pinned."""
        loose = [digest for digest, held in self._held.items() if not held.pinned]
        while self.total + size > self._room or len(self._held) >= MAX_BLOBS:
            if not loose:
                raise NotAvailable(f"No room for a blob of {size} bytes: all {self.total} bytes held here are pinned.")
            self._drop(loose.pop(0))

    def _make_way(self, origin: bytes, size: int) -> None:
        """What one peer had us keep stays within its share: its own oldest go first."""
        theirs = [(digest, held.size) for digest, held in self._held.items() if held.origin == origin and not held.pinned]
        share = sum(held for _, held in theirs) + size
        for digest, held_size in theirs:
            if share <= self._room // 4:
                return
            self._drop(digest)
            share -= held_size

    def _pin(self, digest: bytes, held: _Held, pinned: bool) -> None:
        try:
            self._path(digest, held.pinned).replace(self._path(digest, pinned))
        except OSError as error:
            log.warning("a pin was not changed", digest=digest.hex(), reason=str(error))
            self._held.pop(digest, None)
            return
        held.pinned = pinned

    def _drop(self, digest: bytes) -> None:
        held = self._held.pop(digest, None)
        if held is not None:
            self._path(digest, held.pinned).unlink(missing_ok=True)

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
                self._held[bytes.fromhex(stem)] = _Held(size, name.endswith(PINNED))
            elif name.endswith(".new"):
                (self._folder / name).unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
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
