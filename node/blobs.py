"""Large values under the hash of their bytes: kept as files, copied to peers, fetched from whoever holds them.

    put(data) -> digest             keep it here
    spread(digest, peers, copies)   have peers keep it too; who says that it does
    fetch(digest, holders)          from here, else from the first holder whose bytes have that hash

    keeper                          peer
    BlobOffer(digest, size)    --->  within what it takes from one peer?
                 BlobRequest  <---  chunk by chunk, the hash checked at the end
    BlobChunk                  --->
                        Done  <---  on disk

Files, room and pins (`put(..., pin=True)`): `node.blob_files`. First form: copies are not counted and not renewed when their holders
die, and nobody but the caller knows who holds what (a record in the DHT may say so).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from node.blob_files import BlobFiles, digest_of
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
    Unreachable,
)
from protocol.identity import Member, NodeId, show_id
from protocol.messages import MAX_BLOB, BlobChunk, BlobOffer, BlobRequest, Done

MAX_TOTAL = 256 * 1024 * 1024
"""Bytes of all blobs here."""
CHUNK_S = 10.0
"""Wait for one chunk."""
FETCH_S = 60.0
"""One deadline for a whole fetch, and for a peer to take a copy."""
MAX_HOLDERS = 8
"""Holders tried in one fetch."""
MAX_TAKING = 4
MAX_TAKING_EACH = 2
"""Offers taken at once, of all peers (with `MAX_BLOB` each, the memory they may cost) and of one, which may be slow on purpose."""
CHUNKS_PER_S = 64.0
"""Chunks a second that one peer is served: 16 MiB."""
PAUSE_S = 0.5
MAX_PAUSES = 8
"""How long, and how often in one download, a node that asked too fast waits."""
OFFERS_PER_S = 8.0
BURST_OFFERS = 64.0
MAX_PEERS = 1_024
"""Peers whose rates are remembered."""

log = structlog.get_logger("blobs")


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
    """The blobs of one node."""

    def __init__(self, runtime: Runtime, folder: Path, courier: Courier, *, room: int = MAX_TOTAL) -> None:
        """`folder`: this node's alone; `room`: bytes of all blobs. Raises `NotAvailable`."""
        self._runtime = runtime
        self._files = BlobFiles(runtime, folder, room)
        self._courier = courier
        self._served: dict[bytes, _Allowance] = {}
        self._offered: dict[bytes, _Allowance] = {}
        self._taking: Counter[bytes] = Counter()
        """Offers of each peer that are being taken."""
        courier.on(BlobOffer, self._take)
        courier.on(BlobRequest, self._serve)

    # ---- here --------------------------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Bytes of all blobs here."""
        return self._files.total

    def __len__(self) -> int:
        return len(self._files)

    def held(self, digest: bytes) -> bool:
        """Whether it is here; its bytes are checked when they are read."""
        return digest in self._files

    async def put(self, data: bytes, *, pin: bool = False) -> bytes:
        """Keep it and return its digest. Raises `RequestTooLarge`, or `NotAvailable` when the disk or what is pinned leaves no room."""
        return await self._files.keep(data, pin=pin)

    async def get(self, digest: bytes) -> bytes | None:
        """The bytes if they are here and whole."""
        return await self._files.read(digest)

    def unpin(self, digest: bytes) -> None:
        """From now on it may make room for others."""
        self._files.unpin(digest)

    def discard(self, digest: bytes, origin: bytes = b"") -> None:
        """It is of no use any more to who had us keep it (`origin` a peer, or this node): gone from here unless it is pinned."""
        self._files.discard(digest, origin)

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
            await self._files.keep(data)
        except NotAvailable as error:
            log.warning("a fetched blob is not kept", reason=str(error))
        return data

    async def spread(self, digest: bytes, peers: Sequence[bytes], copies: int, timeout: float = FETCH_S) -> list[bytes]:
        """Have `copies` of the peers keep it, the first ones where they will, each within `timeout` seconds; returns those that confirmed.
        Raises `InvalidRequest`."""
        size = self._files.size(digest)
        if size is None:
            raise InvalidRequest(f"Blob {digest.hex()[:16]} is not on this node: put or fetch it first.")
        waiting, kept = list(dict.fromkeys(peers)), list[bytes]()

        async def lane() -> None:
            while waiting:
                peer = waiting.pop(0)
                if await self._offer(BlobOffer(digest, size), NodeId(peer), timeout):
                    kept.append(peer)
                    return

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(copies, len(waiting))):
                lanes.create_task(lane())
        return kept

    async def _offer(self, offer: BlobOffer, peer: NodeId, timeout: float) -> bool:
        try:
            return isinstance(await self._courier.request(peer, offer, timeout), Done)
        except PeerError as error:
            log.info("a copy was not taken", peer=show_id(peer), reason=str(error))
            return False

    async def _download(self, digest: bytes, holder: NodeId, limit: int) -> bytes:
        """All chunks from one holder, checked; who asks faster than it serves waits. Raises `PeerError`."""
        data, pauses = bytearray(), MAX_PAUSES
        while True:
            try:
                chunk = await self._courier.request(holder, BlobRequest(digest, len(data)), CHUNK_S)
            except Refused as refusal:
                if refusal.code != "rate" or pauses == 0:
                    raise
                pauses -= 1
                await asyncio.sleep(PAUSE_S)
                continue
            if not isinstance(chunk, BlobChunk):
                raise Malformed("a chunk was asked for")
            data += chunk.data
            if chunk.total > limit or len(data) > chunk.total or (not chunk.data and len(data) < chunk.total):
                raise Malformed("the chunks do not add up to the blob")
            if len(data) == chunk.total:
                break
        whole = bytes(data)
        if await self._runtime.run_blocking(digest_of, whole) != digest:
            raise BadSignature("the bytes do not have the blob's hash")
        return whole

    # ---- for peers ---------------------------------------------------------------------------------------------------

    async def _take(self, peer: Member, offer: BlobOffer) -> Done:
        """A peer asks us to keep a copy. Raises `Refused`."""
        if offer.digest in self._files:
            self._files.used(offer.digest)
            return Done()
        if not self._allowance(self._offered, peer, BURST_OFFERS).take(self._runtime.monotonic(), OFFERS_PER_S, BURST_OFFERS):
            raise Refused("rate", f"more than {OFFERS_PER_S:.0f} offers a second")
        if self._taking.total() >= MAX_TAKING or self._taking[peer.node_id] >= MAX_TAKING_EACH or offer.size > self._files.room // 4:
            raise Refused("busy", "this node takes no such blob now")
        self._taking[peer.node_id] += 1
        try:
            async with asyncio.timeout(FETCH_S):
                data = await self._download(offer.digest, peer.node_id, offer.size)
            self._files.make_way(peer.node_id, len(data))
            await self._files.keep(data, origin=peer.node_id)
        except TimeoutError as error:
            raise Refused("slow", f"the blob did not come within {FETCH_S:.0f} s") from error
        except MootError as error:
            raise Refused("failed", str(error)[:500]) from error
        finally:
            self._taking[peer.node_id] -= 1
            self._taking += Counter()  # without those that are done
        return Done()

    async def _serve(self, peer: Member, request: BlobRequest) -> BlobChunk:
        """Part of a blob. Raises `Refused`."""
        size = self._files.size(request.digest)
        if size is None:
            raise Refused("unknown", "this node does not hold the blob")
        if request.offset > size:
            raise Refused("offset", "the blob is shorter")
        if not self._allowance(self._served, peer, CHUNKS_PER_S).take(self._runtime.monotonic(), CHUNKS_PER_S, CHUNKS_PER_S):
            raise Refused("rate", f"more than {CHUNKS_PER_S:.0f} chunks a second")
        data = await self._files.part(request.digest, request.offset)
        if data is None:
            raise Refused("unknown", "this node cannot read the blob now")
        return BlobChunk(size, data)

    def _allowance(self, table: dict[bytes, _Allowance], peer: Member, burst: float) -> _Allowance:
        if peer.node_id not in table and len(table) >= MAX_PEERS:
            del table[next(iter(table))]
        return table.setdefault(peer.node_id, _Allowance(burst, self._runtime.monotonic()))
