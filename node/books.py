"""SQLite behind the small interfaces that the DHT and the council define for what must outlive the process.

(Agents keep their own book, `node/agents/book.py`, join tokens theirs, `node/tokens.py`.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from node.dht.storage import Place
from node.store import Store
from protocol.messages import Contact
from protocol.records import Record

MAX_RECEIPTS = 100_000
"""Receipts kept; the oldest are forgotten first."""

_record = msgspec.msgpack.Decoder(Record)


class SqliteContacts:
    """`node.dht.storage.ContactBook`."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def load(self) -> list[Contact]:
        rows = await self._store.read(lambda db: db.execute("SELECT node_id, host, port FROM contacts ORDER BY seen_at DESC").fetchall())
        return [Contact(*row) for row in rows]

    async def save(self, contacts: list[Contact]) -> None:
        """Replaces what was saved before."""
        seen_at = self._now()

        def change(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM contacts")
            rows = [(contact.node_id, contact.host, contact.port, seen_at) for contact in contacts]
            db.executemany("INSERT OR REPLACE INTO contacts VALUES (?, ?, ?, ?)", rows)

        await self._store.write(change)


class SqliteRecords:
    """`node.dht.storage.RecordBook`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self) -> list[Record]:
        rows = await self._store.read(lambda db: db.execute("SELECT data FROM records").fetchall())
        return [_record.decode(row[0]) for row in rows]

    async def save(self, records: list[Record], gone: list[Place]) -> None:
        """One batch: insert or replace `records`, delete `gone`."""
        rows = [(r.key, r.author, r.subkey, msgspec.msgpack.encode(r), r.expires_at) for r in records]

        def change(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM records WHERE key = ? AND author = ? AND subkey = ?", gone)
            db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", rows)

        await self._store.write(change)


class SqliteReceipts:
    """`node.council.seams.ReceiptBook`."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def save(self, receipt_id: bytes, data: bytes) -> None:
        saved_at = self._now()

        def change(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", (receipt_id, saved_at, data))
            db.execute(
                "DELETE FROM receipts WHERE saved_at < (SELECT saved_at FROM receipts ORDER BY saved_at DESC LIMIT 1 OFFSET ?)",
                (MAX_RECEIPTS - 1,),
            )

        await self._store.write(change)

    async def load(self, receipt_id: bytes) -> bytes | None:
        row = await self._one("SELECT data FROM receipts WHERE id = ?", (receipt_id,))
        return bytes(row[0]) if row is not None else None

    async def recent(self, limit: int) -> list[bytes]:
        """The newest receipts, newest first."""
        sql = "SELECT data FROM receipts ORDER BY saved_at DESC LIMIT ?"
        return [row[0] for row in await self._store.read(lambda db: db.execute(sql, (limit,)).fetchall())]

    async def rated(self, receipt_id: bytes, rater: bytes) -> bool:
        return await self._one("SELECT 1 FROM ratings WHERE receipt = ? AND rater = ?", (receipt_id, rater)) is not None

    async def save_rating(self, receipt_id: bytes, rater: bytes, score: float, at: float) -> None:
        row = (receipt_id, rater, score, at)
        await self._store.write(lambda db: db.execute("INSERT OR REPLACE INTO ratings VALUES (?, ?, ?, ?)", row).rowcount)

    async def _one(self, sql: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = await self._store.read(lambda db: db.execute(sql, parameters).fetchone())
        return row


class SqliteKeep:
    """`node.council.examiner.Keep`: small named values."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, name: str) -> bytes | None:
        row = await self._store.read(lambda db: db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone())
        return bytes(row[0]) if row is not None else None

    async def save(self, name: str, data: bytes) -> None:
        await self._store.write(lambda db: db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, data)).rowcount)
