"""A book of agents in memory: durable for as long as the test holds it, so a node can be started anew on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.brains.base import MAX_NOTES
from protocol.errors import NotAvailable


class MemoryBook:
    """`node.agents.book.AgentBook` without a disk. Set `broken` to see a disk that refuses."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.deaths: dict[bytes, tuple[float, str]] = {}
        self.notes: dict[str, list[bytes]] = {}
        self.raters: dict[bytes, bytes] = {}
        self.broken = False

    async def load_all(self) -> dict[bytes, bytes]:
        return dict(self.rows)

    async def save(self, rows: Mapping[bytes, bytes]) -> None:
        if self.broken:
            raise NotAvailable("The disk is full.")
        self.rows.update(rows)

    async def bury(self, agent_id: bytes, at: float, reason: str) -> None:
        if self.broken:
            raise NotAvailable("The disk is full.")
        self.rows.pop(agent_id, None)
        self.deaths[agent_id] = (at, reason)

    async def load_notes(self, brain: str) -> list[bytes]:
        return list(self.notes.get(brain, []))

    async def save_notes(self, brain: str, notes: Sequence[bytes]) -> None:
        if self.broken:
            raise NotAvailable("The disk is full.")
        self.notes[brain] = [*self.notes.get(brain, []), *notes][-MAX_NOTES:]

    async def load_raters(self) -> dict[bytes, bytes]:
        return dict(self.raters)

    async def save_raters(self, rows: Mapping[bytes, bytes], forgotten: Sequence[bytes]) -> None:
        if self.broken:
            raise NotAvailable("The disk is full.")
        self.raters.update(rows)
        for rater in forgotten:
            self.raters.pop(rater, None)
