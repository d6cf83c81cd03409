"""Where agents outlive the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Protocol

from node.brains.base import MAX_NOTES
from node.store import Store

MAX_DEATHS = 10_000
"""Deaths remembered; the oldest are forgotten first."""


class AgentBook(Protocol):
    """Durable agents, as rows of `node.agents.agent`. When `save` or `bury` returns, it is on disk. Raise `NotAvailable`."""

    async def load_all(self) -> dict[bytes, bytes]:
        """Agent id -> row."""

    async def save(self, rows: Mapping[bytes, bytes]) -> None:
        """Insert or replace, all or none."""

    async def bury(self, agent_id: bytes, at: float, reason: str) -> None:
        """Delete the agent and record its death."""

    async def load_notes(self, brain: str) -> list[bytes]:
        """A brain's newest notes (`Brain.notes`), at most `MAX_NOTES`, oldest first."""

    async def save_notes(self, brain: str, notes: Sequence[bytes]) -> None:
        """Append them; the oldest beyond `MAX_NOTES` are forgotten."""

    async def load_raters(self) -> dict[bytes, bytes]:
        """Rater id -> row of `node.agents.raters`."""

    async def save_raters(self, rows: Mapping[bytes, bytes], forgotten: Sequence[bytes]) -> None:
        """Insert or replace, and delete those forgotten, all or none."""


class SqliteBook:
    """The book in the node's database (tables `agents`, `deaths`, `notes` and `raters`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load_all(self) -> dict[bytes, bytes]:
        def query(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            return dict(connection.execute("SELECT id, data FROM agents ORDER BY id"))

        return await self._store.read(query)

    async def save(self, rows: Mapping[bytes, bytes]) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO agents (id, data) VALUES (?, ?)", list(rows.items()))

        await self._store.write(change)

    async def bury(self, agent_id: bytes, at: float, reason: str) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM agents WHERE id = ?", (agent_id,))
            connection.execute("INSERT OR REPLACE INTO deaths (id, at, reason) VALUES (?, ?, ?)", (agent_id, at, reason))
            connection.execute("DELETE FROM deaths WHERE id IN (SELECT id FROM deaths ORDER BY at DESC LIMIT -1 OFFSET ?)", (MAX_DEATHS,))

        await self._store.write(change)

    async def load_notes(self, brain: str) -> list[bytes]:
        def query(connection: sqlite3.Connection) -> list[bytes]:
            return [data for (data,) in connection.execute("SELECT data FROM notes WHERE brain = ? ORDER BY number", (brain,))]

        return await self._store.read(query)

    async def save_notes(self, brain: str, notes: Sequence[bytes]) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO notes (brain, data) VALUES (?, ?)", [(brain, data) for data in notes])
            connection.execute(
                "DELETE FROM notes WHERE brain = ? AND number <= "
                "(SELECT number FROM notes WHERE brain = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (brain, brain, MAX_NOTES),
            )

        await self._store.write(change)

    async def load_raters(self) -> dict[bytes, bytes]:
        def query(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            return dict(connection.execute("SELECT id, data FROM raters ORDER BY id"))

        return await self._store.read(query)

    async def save_raters(self, rows: Mapping[bytes, bytes], forgotten: Sequence[bytes]) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO raters (id, data) VALUES (?, ?)", list(rows.items()))
            connection.executemany("DELETE FROM raters WHERE id = ?", [(rater,) for rater in forgotten])

        await self._store.write(change)
