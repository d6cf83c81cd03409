"""Kept receipts: opened again, and kept in memory for tests and for nodes without a database."""

from __future__ import annotations

from protocol.errors import Malformed, NotAvailable
from protocol.receipts import Receipt, decode_receipt


def readable(data: bytes) -> Receipt | None:
    """None where another version of moot wrote it: its bytes are no receipt of this one."""
    try:
        return decode_receipt(data)
    except Malformed:
        return None


def opened(data: bytes) -> Receipt:
    """Raises `NotAvailable` where another version of moot wrote it."""
    receipt = readable(data)
    if receipt is None:
        raise NotAvailable("This receipt was written by another version of moot: read it with that version.", code="other_version")
    return receipt


class MemoryReceipts:
    """A `ReceiptBook` that forgets at exit; unbounded, so not for a daemon."""

    def __init__(self) -> None:
        self._receipts: dict[bytes, bytes] = {}
        self._ratings: dict[tuple[bytes, bytes], float] = {}

    async def save(self, receipt_id: bytes, data: bytes) -> None:
        self._receipts[receipt_id] = data

    async def load(self, receipt_id: bytes) -> bytes | None:
        return self._receipts.get(receipt_id)

    async def recent(self, limit: int) -> list[bytes]:
        return list(self._receipts.values())[::-1][:limit]

    async def rated(self, receipt_id: bytes, rater: bytes) -> bool:
        return (receipt_id, rater) in self._ratings

    async def save_rating(self, receipt_id: bytes, rater: bytes, score: float, at: float) -> None:
        self._ratings[(receipt_id, rater)] = score
