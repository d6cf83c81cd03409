"""Projects, rows, vectors, answers and charters in SQLite: what a project is after a crash is what stands here.

Rows come in batches of the size they were sent in. A batch without vectors has not been read yet. Examples have negative numbers.
A NULL label means that the person skipped the row.
Of the corrections of a row only the last is kept, with its signature. (The tables are a migration in `node/store.py`.)
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import msgspec

from node.store import Store
from protocol.corrections import Charter, Correction, Distrust, rank
from protocol.heads import HeadStatement, head_id, head_rank
from protocol.identity import node_id_of


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
    home: str = ""
    """The node where it was started, when that is another one."""


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
            sql = "INSERT OR IGNORE INTO label_batches (project, start, count, texts) VALUES (?, ?, ?, ?)"
            if db.execute(sql, (project, start, len(texts), packed)).rowcount:
                _count(db, project, b"", start, len(texts))

        await self._store.write(change)

    async def sizes(self, project: str) -> tuple[int, int, int]:
        """(rows, rows read, examples)."""
        query = """SELECT coalesce(sum(rows), 0), coalesce(sum(rows) FILTER (WHERE node != x''), 0), coalesce(sum(examples), 0)
                   FROM label_sizes WHERE project = ?"""
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
            sql = "UPDATE label_batches SET vectors = ?, node = ? WHERE project = ? AND start = ? AND vectors IS NULL RETURNING count"
            for (count,) in db.execute(sql, (vectors, node, project, start)).fetchall():
                _count(db, project, b"", start, -count)
                _count(db, project, node, start, count)

        await self._store.write(change)

    async def disown(self, project: str, node: bytes) -> list[int]:
        """Forget what this node read; returns where those batches start."""

        def change(db: sqlite3.Connection) -> list[int]:
            sql = "UPDATE label_batches SET vectors = NULL, node = NULL WHERE project = ? AND node = ? RETURNING start, count"
            gone = db.execute(sql, (project, node)).fetchall()
            for start, count in gone:
                _count(db, project, node, start, -count)
                _count(db, project, b"", start, count)
            return sorted(start for start, _ in gone)

        return await self._store.write(change)

    async def helpers(self, project: str) -> list[tuple[bytes, int]]:
        """Rows read by each node, examples among them."""
        query = """SELECT node, rows + examples FROM label_sizes WHERE project = ? AND node != x'' AND rows + examples > 0
                   ORDER BY node"""
        return [(row[0], row[1]) for row in await self._store.read(lambda db: db.execute(query, (project,)).fetchall())]

    async def answers(self, project: str) -> dict[int, str | None]:
        """The answers that stand, oldest first."""
        query = "SELECT row, label FROM label_answers WHERE project = ? AND NOT undone ORDER BY counter, at, author, row"
        return dict(await self._store.read(lambda db: db.execute(query, (project,)).fetchall()))

    async def changed(self, project: str) -> tuple[int, list[tuple[int, str, str, bytes]]]:
        """How many answers replaced a different one, and the latest few as (row, former, label, author)."""
        query = """SELECT row, former, label, author FROM label_answers WHERE project = ? AND former IS NOT NULL AND label IS NOT NULL
                   AND NOT undone ORDER BY counter DESC, at DESC LIMIT 5"""
        total = "SELECT coalesce(sum(changed), 0) FROM label_answers WHERE project = ?"
        count: int = (await self._store.read(lambda db: db.execute(total, (project,)).fetchone()))[0]
        return count, await self._store.read(lambda db: db.execute(query, (project,)).fetchall())

    async def examples(self, project: str, labels: dict[int, str], now: float) -> None:
        """What is known beforehand: rows with negative numbers, of no author."""
        rows = [(project, row, label, now) for row, label in labels.items()]
        sql = "INSERT OR IGNORE INTO label_answers (project, row, label, at) VALUES (?, ?, ?, ?)"
        await self._store.write(lambda db: db.executemany(sql, rows))

    async def correct(self, said: Correction) -> bool:
        """Keep a correction unless a later one of its row is here; a different answer before it is counted as changed."""
        counter, at, author = rank(said)
        values = (said.project, said.row, said.label, at, said.undo, counter, author, msgspec.msgpack.encode(said))

        def change(db: sqlite3.Connection) -> bool:
            sql = """INSERT INTO label_answers (project, row, label, at, undone, counter, author, statement)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, row) DO UPDATE SET
                     changed = changed + (label IS NOT NULL AND excluded.label IS NOT NULL AND label IS NOT excluded.label),
                     former = CASE WHEN label IS NOT excluded.label THEN label ELSE former END, label = excluded.label,
                     at = excluded.at, undone = excluded.undone, counter = excluded.counter, author = excluded.author,
                     statement = excluded.statement
                     WHERE (excluded.counter, excluded.at, excluded.author) > (counter, at, author)"""
            return db.execute(sql, values).rowcount > 0

        return await self._store.write(change)

    async def last_counter(self, project: str) -> int:
        query = "SELECT coalesce(max(counter), 0) FROM label_answers WHERE project = ?"
        counter: int = (await self._store.read(lambda db: db.execute(query, (project,)).fetchone()))[0]
        return counter

    async def ranks(self, project: str) -> list[tuple[int, int, bytes]]:
        """(row, counter, author) of the corrections that stand."""
        query = "SELECT row, counter, author FROM label_answers WHERE project = ? AND statement IS NOT NULL"
        return await self._store.read(lambda db: db.execute(query, (project,)).fetchall())

    async def statements(self, project: str) -> list[Correction]:
        """The corrections that stand, signed."""
        query = "SELECT statement FROM label_answers WHERE project = ? AND statement IS NOT NULL"
        rows = await self._store.read(lambda db: db.execute(query, (project,)).fetchall())
        return [msgspec.msgpack.decode(row[0], type=Correction) for row in rows]

    async def authors(self, project: str) -> list[tuple[bytes, int]]:
        """How many answers that stand, skips aside, are of each key."""
        query = """SELECT author, count(*) FROM label_answers
                   WHERE project = ? AND statement IS NOT NULL AND label IS NOT NULL AND NOT undone
                   GROUP BY author ORDER BY count(*) DESC, author"""
        return await self._store.read(lambda db: db.execute(query, (project,)).fetchall())

    async def heads(self, project: str) -> list[HeadStatement]:
        """What stands of each head, in the order they were first spoken of: founders, then by generation."""
        query = "SELECT statement FROM label_heads WHERE project = ?"
        rows = await self._store.read(lambda db: db.execute(query, (project,)).fetchall())
        found = [msgspec.msgpack.decode(row[0], type=HeadStatement) for row in rows]
        return sorted(found, key=lambda said: (said.genome.generation, head_id(said.genome)))

    async def keep_head(self, said: HeadStatement) -> bool:
        """Keep it unless a later statement on that head is here."""
        counter, at, author = head_rank(said)
        values = (said.project, head_id(said.genome), said.standing, counter, at, author, msgspec.msgpack.encode(said))
        return await self._keep("label_heads", "head", "standing", values)

    async def distrusts(self, project: str) -> list[Distrust]:
        query = "SELECT statement FROM label_distrust WHERE project = ? ORDER BY node"
        rows = await self._store.read(lambda db: db.execute(query, (project,)).fetchall())
        return [msgspec.msgpack.decode(row[0], type=Distrust) for row in rows]

    async def distrust(self, said: Distrust) -> bool:
        """Keep it unless a later one of that node is here; the node's corrections are gone then, so that those of others, which they hid,
        may come back."""
        counter, at, author = rank(said)
        values = (said.project, said.node, int(said.trusted), counter, at, author, msgspec.msgpack.encode(said))
        stands = await self._keep("label_distrust", "node", "trusted", values)
        if stands and not said.trusted:
            query = "SELECT DISTINCT author FROM label_answers WHERE project = ? AND statement IS NOT NULL"
            authors = await self._store.read(lambda db: db.execute(query, (said.project,)).fetchall())
            gone = [(said.project, author) for (author,) in authors if node_id_of(author) == said.node]
            await self._store.write(lambda db: db.executemany("DELETE FROM label_answers WHERE project = ? AND author = ?", gone))
        return stands

    async def _keep(self, table: str, key: str, what: str, values: tuple[object, ...]) -> bool:
        """Last writer wins, by (counter, at, author). The names are this file's own."""
        sql = f"""INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, {key}) DO UPDATE SET {what} = excluded.{what},
                  counter = excluded.counter, at = excluded.at, author = excluded.author, statement = excluded.statement
                  WHERE (excluded.counter, excluded.at, excluded.author) > (counter, at, author)"""  # noqa: S608
        return await self._store.write(lambda db: db.execute(sql, values).rowcount > 0)

    async def charters(self) -> dict[str, Charter]:
        rows = await self._store.read(lambda db: db.execute("SELECT project, data FROM label_charters ORDER BY project").fetchall())
        return {project: msgspec.msgpack.decode(data, type=Charter) for project, data in rows}

    async def keep_charter(self, charter: Charter) -> None:
        values = (charter.project, msgspec.msgpack.encode(charter))
        await self._store.write(lambda db: db.execute("INSERT OR IGNORE INTO label_charters VALUES (?, ?)", values))


def _count(db: sqlite3.Connection, project: str, node: bytes, start: int, count: int) -> None:
    """A batch of so many rows came to a node, or (a negative count) left it; no node: it waits to be read."""
    rows, examples = (count, 0) if start >= 0 else (0, count)
    sql = """INSERT INTO label_sizes VALUES (?, ?, ?, ?) ON CONFLICT (project, node) DO UPDATE
             SET rows = rows + excluded.rows, examples = examples + excluded.examples"""
    db.execute(sql, (project, node, rows, examples))
