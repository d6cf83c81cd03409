"""Projects, rows, vectors and answers in SQLite: what a project is after a crash is what stands here.

Rows come in batches of the size they were sent in. A batch without vectors has not been read yet. Examples have negative numbers.
A NULL label means that the person skipped the row. (The tables are a migration in `node/store.py`.)
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import msgspec

from node.store import Store


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows; `vectors` is float16 of shape (count, dimensions) in C order, None while unread."""

    start: int
    texts: list[str]
    vectors: bytes | None = None


class ProjectRecord(msgspec.Struct):
    """What a project is told when it begins, and what it learns about itself."""

    name: str
    labels: list[str]
    budget: int
    local: bool
    embedder: str
    complete: bool = False


class LabelBook:
    """All reads and writes of labelling."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def projects(self) -> dict[str, ProjectRecord]:
        rows = await self._store.read(lambda db: db.execute("SELECT id, data FROM label_projects ORDER BY created_at").fetchall())
        return {name: msgspec.json.decode(data, type=ProjectRecord) for name, data in rows}

    async def save(self, project: str, record: ProjectRecord, now: float) -> None:
        data = msgspec.json.encode(record)

        def change(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO label_projects VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data", (project, now, data)
            )

        await self._store.write(change)

    async def add(self, project: str, start: int, texts: list[str]) -> None:
        packed = msgspec.json.encode(texts)

        def change(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR IGNORE INTO label_batches (project, start, count, texts) VALUES (?, ?, ?, ?)",
                (project, start, len(texts), packed),
            )

        await self._store.write(change)

    async def sizes(self, project: str) -> tuple[int, int, int]:
        """(rows, rows read, examples)."""
        query = """SELECT coalesce(sum(count) FILTER (WHERE start >= 0), 0),
                          coalesce(sum(count) FILTER (WHERE start >= 0 AND vectors IS NOT NULL), 0),
                          coalesce(sum(count) FILTER (WHERE start < 0), 0) FROM label_batches WHERE project = ?"""
        rows, read, examples = await self._store.read(lambda db: db.execute(query, (project,)).fetchone())
        return rows, read, examples

    async def unread(self, project: str) -> list[int]:
        """Where the unread batches start."""
        query = "SELECT start FROM label_batches WHERE project = ? AND vectors IS NULL ORDER BY start"
        return [row[0] for row in await self._store.read(lambda db: db.execute(query, (project,)).fetchall())]

    async def starts(self, project: str) -> list[int]:
        query = "SELECT start FROM label_batches WHERE project = ? ORDER BY start"
        return [row[0] for row in await self._store.read(lambda db: db.execute(query, (project,)).fetchall())]

    async def batch(self, project: str, row: int) -> Batch | None:
        """The batch that holds this row."""
        query = """SELECT start, texts, vectors, count FROM label_batches WHERE project = ? AND start <= ?
                   ORDER BY start DESC LIMIT 1"""
        found = await self._store.read(lambda db: db.execute(query, (project, row)).fetchone())
        if found is None or row >= found[0] + found[3]:
            return None
        return Batch(found[0], msgspec.json.decode(found[1], type=list[str]), found[2])

    async def read(self, project: str, start: int, vectors: bytes, node: bytes) -> None:
        """This batch has been read by `node`."""

        def change(db: sqlite3.Connection) -> None:
            sql = "UPDATE label_batches SET vectors = ?, node = ? WHERE project = ? AND start = ? AND vectors IS NULL"
            db.execute(sql, (vectors, node, project, start))

        await self._store.write(change)

    async def disown(self, project: str, node: bytes) -> list[int]:
        """Forget what this node read; returns where those batches start."""

        def change(db: sqlite3.Connection) -> list[int]:
            where = (project, node)
            starts = [row[0] for row in db.execute("SELECT start FROM label_batches WHERE project = ? AND node = ?", where)]
            db.execute("UPDATE label_batches SET vectors = NULL, node = NULL WHERE project = ? AND node = ?", where)
            return starts

        return await self._store.write(change)

    async def helpers(self, project: str) -> list[tuple[bytes, int]]:
        """Rows read by each node."""
        query = "SELECT node, sum(count) FROM label_batches WHERE project = ? AND node IS NOT NULL GROUP BY node ORDER BY node"
        return [(row[0], row[1]) for row in await self._store.read(lambda db: db.execute(query, (project,)).fetchall())]

    async def answers(self, project: str) -> dict[int, str | None]:
        """The answers that stand, oldest first."""
        query = "SELECT row, label FROM label_answers WHERE project = ? ORDER BY at, row"
        return dict(await self._store.read(lambda db: db.execute(query, (project,)).fetchall()))

    async def changed(self, project: str) -> int:
        query = "SELECT coalesce(sum(changed), 0) FROM label_answers WHERE project = ?"
        count: int = (await self._store.read(lambda db: db.execute(query, (project,)).fetchone()))[0]
        return count

    async def answer(self, project: str, answers: dict[int, str | None], now: float) -> None:
        """The later answer wins; a different one is counted as changed."""
        rows = [(project, row, label, now) for row, label in answers.items()]

        def change(db: sqlite3.Connection) -> None:
            db.executemany(
                """INSERT INTO label_answers (project, row, label, at) VALUES (?, ?, ?, ?) ON CONFLICT (project, row) DO UPDATE
                   SET changed = changed + (label IS NOT NULL AND label IS NOT excluded.label), label = excluded.label, at = excluded.at""",
                rows,
            )

        await self._store.write(change)

    async def take_back(self, project: str, row: int) -> None:
        await self._store.write(lambda db: db.execute("DELETE FROM label_answers WHERE project = ? AND row = ?", (project, row)))
