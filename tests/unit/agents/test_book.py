"""The book in SQLite: agents and deaths outlive the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.agents.book import SqliteBook
from node.runtime import SystemRuntime
from node.store import Store


def opened(folder: Path) -> Store:
    return Store(folder / "moot.sqlite3", SystemRuntime())


async def test_agents_outlive_the_process_and_the_dead_do_not_come_back(tmp_path: Path) -> None:
    store = opened(tmp_path)
    book = SqliteBook(store)
    await book.save({b"a" * 20: b"one", b"b" * 20: b"two"})
    await book.save({b"a" * 20: b"one, older"})
    await book.bury(b"b" * 20, 1.0, "made room for a child")
    await book.bury(b"b" * 20, 2.0, "made room for a child")
    store.close()
    store = opened(tmp_path)
    assert await SqliteBook(store).load_all() == {b"a" * 20: b"one, older"}
    assert store.read_now(lambda db: db.execute("SELECT at, reason FROM deaths").fetchall()) == [(2.0, "made room for a child")]
    store.close()


async def test_the_oldest_deaths_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.agents.book.MAX_DEATHS", 3)
    store = opened(tmp_path)
    book = SqliteBook(store)
    for number in range(5):
        await book.bury(bytes([number]) * 20, float(number), "")
    assert store.read_now(lambda db: [at for (at,) in db.execute("SELECT at FROM deaths ORDER BY at")]) == [2.0, 3.0, 4.0]
    store.close()
