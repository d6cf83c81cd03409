"""The store: what is acknowledged is on disk; what is damaged says so."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from node.runtime import SystemRuntime
from node.store import Store
from protocol.errors import Conflict, NotAvailable


def names(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT name FROM meta ORDER BY name")]


async def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    store = Store(path, SystemRuntime())
    await store.write(lambda db: db.execute("INSERT INTO meta VALUES ('a', x'01')"))
    # No close: another process opens the file as a crash left it.
    other = sqlite3.connect(path)
    assert names(other) == ["a"]
    other.close()
    store.close()


async def test_a_change_that_fails_leaves_no_trace_and_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())

    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('half', x'01')")
        raise Conflict("no")

    outcomes = await asyncio.gather(
        store.write(lambda db: db.execute("INSERT INTO meta VALUES ('before', x'01')").rowcount),
        store.write(half),
        store.write(lambda db: db.execute("INSERT INTO meta VALUES ('after', x'01')").rowcount),
        return_exceptions=True,
    )
    assert outcomes[0] == outcomes[2] == 1
    assert isinstance(outcomes[1], Conflict)
    assert await store.read(names) == ["after", "before"]
    store.close()


async def test_a_thousand_concurrent_writes_all_land(tmp_path: Path) -> None:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())

    async def one(number: int) -> None:
        await store.write(lambda db: db.execute("INSERT INTO meta VALUES (?, x'00')", (f"{number:04}",)))

    await asyncio.gather(*(one(number) for number in range(1000)))
    assert len(await store.read(names)) == 1000
    store.close()


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to look at" * 100], ids=["truncated", "garbage"])
async def test_a_damaged_file_is_one_clear_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "moot.sqlite3"
    store = Store(path, SystemRuntime())
    await store.write(lambda db: db.execute("INSERT INTO meta VALUES ('a', x'01')"))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(damage or whole[: len(whole) // 2])
    with pytest.raises(NotAvailable, match="move that file aside"):
        Store(path, SystemRuntime())


def test_a_database_of_a_newer_moot_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    Store(path, SystemRuntime()).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version=99")
    raw.close()
    with pytest.raises(NotAvailable, match="update moot"):
        Store(path, SystemRuntime())


async def test_a_full_disk_is_called_so_and_costs_nothing_that_was_saved(tmp_path: Path) -> None:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    await store.write(lambda db: db.execute("INSERT INTO meta VALUES ('a', x'01')").rowcount)
    await store.write(lambda db: db.execute("PRAGMA max_page_count=1").fetchall())  # SQLite reports a full disk from here on
    with pytest.raises(NotAvailable, match="is full: make room") as failure:
        await store.write(lambda db: db.execute("INSERT INTO meta VALUES ('b', zeroblob(1000000))").rowcount)
    assert "move that file" not in str(failure.value)
    await store.write(lambda db: db.execute("PRAGMA max_page_count=100000").fetchall())
    await store.write(lambda db: db.execute("INSERT INTO meta VALUES ('c', x'01')").rowcount)
    assert await store.read(names) == ["a", "c"]
    store.close()
