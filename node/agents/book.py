"""Where agents outlive the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Protocol

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


class SqliteBook:
    """The book in the node's database (tables `agents` and `deaths`)."""

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
