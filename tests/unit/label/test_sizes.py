"""How large a pile is costs the same to know however large it is: it is asked with every batch that comes in."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

from node.label.book import LabelBook
from node.runtime import SystemRuntime
from node.store import MIGRATIONS, Store

PROJECT = "p"


async def steps(store: Store, question: Callable[[], Awaitable[object]]) -> int:
    """SQLite's virtual instructions for an answer."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    await store.read(lambda db: db.set_progress_handler(tick, 1))
    await question()
    await store.read(lambda db: db.set_progress_handler(None, 0))
    return count


async def test_the_size_of_a_pile_takes_as_much_work_after_ten_batches_as_after_five_hundred(tmp_path: Path) -> None:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    book = LabelBook(store)
    work: list[tuple[int, int]] = []
    for start in range(0, 1_000, 2):
        await book.add(PROJECT, start, ["a", "b"])
        if start in (20, 998):
            work.append((await steps(store, lambda: book.sizes(PROJECT)), await steps(store, lambda: book.helpers(PROJECT))))
    assert await book.sizes(PROJECT) == (1_000, 0, 0)
    assert work[0] == work[1]
    store.close()


async def test_rows_are_counted_as_they_come_are_read_and_are_disowned(tmp_path: Path) -> None:
    store = Store(tmp_path / "moot.sqlite3", SystemRuntime())
    book, one, other = LabelBook(store), b"1" * 20, b"2" * 20
    for start, texts in ((0, ["a", "b", "c"]), (0, ["a"]), (3, ["d"]), (-2, ["x", "y"])):
        await book.add(PROJECT, start, texts)  # a batch sent twice counts once
    assert await book.sizes(PROJECT) == (4, 0, 2)
    await book.read(PROJECT, 0, b"v", one)
    await book.read(PROJECT, 0, b"w", other)  # the first to come counts
    await book.read(PROJECT, -2, b"v", other)
    assert (await book.sizes(PROJECT), await book.helpers(PROJECT)) == ((4, 3, 2), [(one, 3), (other, 2)])
    assert await book.disown(PROJECT, one) == [0]
    assert (await book.sizes(PROJECT), await book.helpers(PROJECT)) == ((4, 0, 2), [(other, 2)])
    assert await book.sizes("another") == (0, 0, 0)
    store.close()


async def test_a_pile_of_before_there_were_sums_is_counted_when_the_database_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    before = next(number for number, script in enumerate(MIGRATIONS) if "label_sizes" in script)
    with sqlite3.connect(path) as db:
        for script in MIGRATIONS[:before]:
            db.executescript(script)
        rows = [(0, 3, b"n", b"v"), (3, 2, None, None), (-4, 4, b"n", b"v")]
        for start, count, node, vectors in rows:
            db.execute("INSERT INTO label_batches VALUES (?, ?, ?, x'', ?, ?)", (PROJECT, start, count, vectors, node))
        db.execute(f"PRAGMA user_version={before}")
    db.close()
    store = Store(path, SystemRuntime())
    assert (await LabelBook(store).sizes(PROJECT), await LabelBook(store).helpers(PROJECT)) == ((5, 3, 4), [(b"n", 7)])
    store.close()
