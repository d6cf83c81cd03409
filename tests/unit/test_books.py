"""What the parts keep in the database comes back as it was, also after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.books import SqliteContacts, SqliteReceipts, SqliteRecords
from node.runtime import SystemRuntime
from node.store import Store
from node.tokens import SqliteTokens
from protocol.identity import NodeKey
from protocol.messages import Contact
from protocol.records import key_of, sign
from protocol.token import TokenEntry, hash_secret

NOW = 1_800_000_000.0
ID, SECRET = b"12345", b"s" * 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    yield store
    store.close()


async def test_a_one_use_token_is_redeemed_by_exactly_one_of_many(store: Store) -> None:
    tokens = SqliteTokens(store)
    await tokens.add(TokenEntry(ID, hash_secret(SECRET), NOW, NOW + 60, 1))
    outcomes = await asyncio.gather(*(tokens.redeem(ID, SECRET, NOW) for _ in range(20)))
    assert outcomes.count(None) == 1
    assert outcomes.count("used up") == 19


async def test_a_token_is_refused_with_the_reason(store: Store) -> None:
    tokens = SqliteTokens(store)
    await tokens.add(TokenEntry(ID, hash_secret(SECRET), NOW, NOW + 60, 5))
    assert await tokens.redeem(b"other", SECRET, NOW) == "unknown"
    assert await tokens.redeem(ID, b"x" * 20, NOW) == "wrong"
    assert await tokens.redeem(ID, SECRET, NOW + 61) == "expired"
    assert await tokens.revoke(ID)
    assert not await tokens.revoke(ID)
    assert await tokens.redeem(ID, SECRET, NOW) == "unknown"


async def test_contacts_and_records_come_back(tmp_path: Path) -> None:
    path, runtime = tmp_path / "again.sqlite3", SystemRuntime()
    contacts = [Contact(bytes([n]) * 20, "10.0.0.1", 7000 + n) for n in range(1, 4)]
    author = NodeKey.from_seed(b"a" * 32)
    records = [sign(author, key=key_of("k"), subkey=s, seq=1, value=b"v", expires_at=int(NOW) + 9) for s in ("a", "b")]
    store = Store(path, runtime)
    await SqliteContacts(store, lambda: NOW).save(contacts)
    await SqliteRecords(store).save(records, [])
    await SqliteRecords(store).save([], [(records[0].key, records[0].author, "a")])
    store.close()
    store = Store(path, runtime)
    assert sorted(await SqliteContacts(store, lambda: NOW).load(), key=lambda contact: contact.port) == contacts
    assert await SqliteRecords(store).load() == records[1:]
    store.close()


async def test_receipts_are_kept_newest_first_and_rated_once(store: Store) -> None:
    clock = iter(range(10))
    receipts = SqliteReceipts(store, lambda: float(next(clock)))
    for name in (b"1", b"2", b"3"):
        await receipts.save(name * 20, b"receipt " + name)
    assert await receipts.recent(2) == [b"receipt 3", b"receipt 2"]
    assert await receipts.load(b"1" * 20) == b"receipt 1"
    assert await receipts.load(b"9" * 20) is None
    await receipts.save_rating(b"1" * 20, b"me", 1.0, NOW)
    assert await receipts.rated(b"1" * 20, b"me")
    assert not await receipts.rated(b"2" * 20, b"me")
