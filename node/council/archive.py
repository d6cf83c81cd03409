"""Receipts of other nodes, found through the DHT: the key is the receipt's id, the value the node that convened the question.

Where a receipt is, is published in the background after it is on disk here. What a node sends is verified whole before it is shown, so
neither a false pointer nor a false receipt can do more than cost a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from node.council.ledger import Shelf
from node.council.seams import Courier, ReceiptBook
from node.runtime import Runtime
from protocol.errors import PeerError, UserError
from protocol.identity import ID_BYTES, Member, NodeId, show_id
from protocol.messages import ReceiptReply, ReceiptRequest
from protocol.receipts import Receipt, decode_receipt
from protocol.records import key_of
from protocol.verification import verify_receipt

TTL_S = 14 * 86_400
MAX_WAITING = 1_024
PAUSE_S = 1.0
"""Between two pointers: writing one costs a look-up and five stores, which would slow the questions themselves down."""
FIND_S = 5.0
MAX_HOLDERS = 4
"""Nodes asked for one receipt: anybody may write a pointer."""
MAX_MESSAGE = 1_000_000

log = structlog.get_logger("council")


class Archive:
    """`publish` after a receipt is saved; `find` when it is not here; `run` writes the pointers."""

    def __init__(
        self, runtime: Runtime, me: NodeId, courier: Courier, receipts: ReceiptBook, root: Callable[[], bytes], shelf: Shelf | None
    ) -> None:
        self._runtime = runtime
        self._me = me
        self._courier = courier
        self._receipts = receipts
        self._root = root
        self._shelf = shelf
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)

    def publish(self, receipt_id: bytes) -> None:
        """Soon; under more load than the DHT takes, some receipts stay findable on this node only."""
        if not self._waiting.full():
            self._waiting.put_nowait(receipt_id)

    @property
    def waiting(self) -> int:
        """Receipts whose pointer is not written yet."""
        return self._waiting.qsize()

    async def run(self) -> None:
        """Write pointers, until cancelled."""
        while True:
            receipt_id = await self._waiting.get()
            if self._shelf is None:
                continue
            try:
                await self._shelf.put(_key(receipt_id), "", bytes(self._me), TTL_S)
            except (PeerError, UserError) as error:
                log.debug("receipt not announced", receipt=show_id(receipt_id), reason=str(error))
            await asyncio.sleep(PAUSE_S)

    async def serve(self, _peer: Member, request: ReceiptRequest) -> ReceiptReply:
        """Handler: a receipt of this node."""
        data = await self._receipts.load(request.receipt) or b""
        return ReceiptReply(data if len(data) <= MAX_MESSAGE else b"")

    async def find(self, receipt_id: bytes) -> Receipt | None:
        """From whoever holds it, verified; None where nobody does."""
        if self._shelf is None:
            return None
        try:
            async with asyncio.timeout(FIND_S):
                records = await self._shelf.get(_key(receipt_id))
        except (PeerError, UserError, TimeoutError):
            return None
        holders = [NodeId(record.value) for record in records if len(record.value) == ID_BYTES and record.value != self._me]
        for holder in dict.fromkeys(holders[:MAX_HOLDERS]):
            receipt = await self._fetch(receipt_id, holder)
            if receipt is not None:
                return receipt
        return None

    async def _fetch(self, receipt_id: bytes, holder: NodeId) -> Receipt | None:
        try:
            reply = await self._courier.request(holder, ReceiptRequest(receipt_id), FIND_S)
        except (PeerError, UserError) as error:
            log.debug("receipt not fetched", holder=show_id(holder), reason=str(error))
            return None
        if not isinstance(reply, ReceiptReply) or not verify_receipt(reply.data, self._root()).ok:
            return None
        receipt = decode_receipt(reply.data)
        return receipt if receipt.id == receipt_id else None


def _key(receipt_id: bytes) -> bytes:
    return key_of(f"moot receipt {receipt_id.hex()}")
