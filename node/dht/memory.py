"""Books in memory: for simulated nodes, whose restart they survive because the test holds them."""

from __future__ import annotations

from node.dht.storage import Place
from protocol.messages import Contact
from protocol.records import Record


class MemoryContacts:
    """A `ContactBook`."""

    def __init__(self) -> None:
        self.saved: list[Contact] = []

    async def load(self) -> list[Contact]:
        return list(self.saved)

    async def save(self, contacts: list[Contact]) -> None:
        self.saved = contacts


class MemoryRecords:
    """A `RecordBook`."""

    def __init__(self) -> None:
        self.saved: dict[Place, Record] = {}

    async def load(self) -> list[Record]:
        return list(self.saved.values())

    async def save(self, records: list[Record], gone: list[Place]) -> None:
        self.saved |= {(record.key, record.author, record.subkey): record for record in records}
        for place in gone:
            self.saved.pop(place, None)
