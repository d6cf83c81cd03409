"""What a node does unasked: hand records to a nearer newcomer, republish, keep buckets filled, forget what expired, save.

None of it extends an expiry: a record travels as its author signed it.
"""

from __future__ import annotations

import asyncio

import structlog
from kademlia.node import Node

from node.dht.lookup import NodeCrawl
from node.dht.placement import REPLICAS, SEARCH_WIDTH, bring, is_heir
from node.dht.rpc import KadProtocol
from node.dht.storage import ContactBook, RecordBook, Storage
from node.dht.table import KSIZE, contact_of
from node.runtime import Runtime
from protocol.errors import NotAvailable, PeerError
from protocol.records import Record

TICK_S = 60.0
REPUBLISH_S = 3_600.0
REFRESH_S = 3_600.0
CRAWL_S = 5.0
SAVE_DELAY_S = 0.25
"""Changes of this long make one batch for the disk."""
MAX_NEWCOMERS = 256
MAX_DOUBTED = 256
HANDED_AT_ONCE = 8
KEYS_AT_ONCE = 64
"""Keys judged between two turns of the event loop."""
MAX_SAVED_CONTACTS = 100
log = structlog.get_logger("dht")


class Upkeep:
    """Owns the queues of newcomers and of contacts to check."""

    def __init__(
        self, runtime: Runtime, protocol: KadProtocol, storage: Storage, contacts: ContactBook | None, records: RecordBook | None
    ) -> None:
        self._runtime = runtime
        self._protocol = protocol
        self._storage = storage
        self._contact_book, self._record_book = contacts, records
        self._newcomers: asyncio.Queue[Node] = asyncio.Queue(MAX_NEWCOMERS)
        self._doubted: asyncio.Queue[Node] = asyncio.Queue(MAX_DOUBTED)
        self._changed = asyncio.Event()
        self._met = False
        """A contact is new since contacts were last saved."""

    # ---- what others tell us --------------------------------------------------------------------------------------

    def newcomer(self, node: Node) -> None:
        """A contact is new. When too many come at once, republishing brings them what is theirs."""
        self._met = True
        self._changed.set()
        if not self._newcomers.full():
            self._newcomers.put_nowait(node)

    def doubt(self, node: Node) -> None:
        """The oldest contact of a full bucket: is it still there?"""
        if not self._doubted.full():
            self._doubted.put_nowait(node)

    def changed(self) -> None:
        """The storage holds something that is not on disk."""
        self._changed.set()

    # ---- loops ----------------------------------------------------------------------------------------------------

    async def hand_over(self) -> None:
        """Give each newcomer the records that it is now among the nearest to (section 2.5 of the paper)."""
        while True:
            newcomer = await self._newcomers.get()
            await self._give(newcomer, await self._inheritance(newcomer))

    async def check_doubted(self) -> None:
        while True:
            node = await self._doubted.get()
            try:
                await self._protocol.call_ping(node)
            except PeerError:
                continue

    async def tick(self) -> None:
        """Every minute forget, republish what is due, save contacts; every hour refresh the buckets."""
        refresh_at = self._runtime.monotonic() + TICK_S
        interval = REPUBLISH_S * self._runtime.random().uniform(0.9, 1.1)  # nodes that started together drift apart
        while True:
            await asyncio.sleep(TICK_S)
            self._storage.expire()
            await self._republish_due(interval)
            if self._runtime.monotonic() >= refresh_at:
                refresh_at = self._runtime.monotonic() + REFRESH_S
                await self._refresh()
            self._met = True
            self._changed.set()

    async def keep_saved(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SAVE_DELAY_S)
            await self.save()

    # ---- hand-over ------------------------------------------------------------------------------------------------

    async def _inheritance(self, newcomer: Node) -> list[Record]:
        """Records that the newcomer should hold and that it is our turn to bring it."""
        due: list[Record] = []
        for number, key in enumerate(self._storage.keys()):
            if number % KEYS_AT_ONCE == KEYS_AT_ONCE - 1:
                await asyncio.sleep(0)
            if is_heir(self._protocol, newcomer, Node(key)):
                due += self._storage.get(key)
        return due

    async def _give(self, newcomer: Node, records: list[Record]) -> None:
        """A few at a time, and no further once it does not answer."""
        for start in range(0, len(records), HANDED_AT_ONCE):
            batch = records[start : start + HANDED_AT_ONCE]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(bring(self._protocol, record, [newcomer])) for record in batch]
            if any(task.result() == ["unreachable"] for task in tasks):
                return

    # ---- republishing and refresh ---------------------------------------------------------------------------------

    async def _republish_due(self, interval: float) -> None:
        """As many keys as a minute allows; the rest is due again in the next."""
        until = self._runtime.monotonic() + TICK_S
        for key, records in self._storage.iter_older_than(interval):
            if self._runtime.monotonic() >= until:
                return
            await self._republish(Node(key), records)

    async def _republish(self, key: Node, records: list[Record]) -> None:
        """Bring records to the nodes nearest to their key now; holders that get them wait an hour themselves."""
        crawl = NodeCrawl(self._runtime, self._protocol, key, SEARCH_WIDTH)
        holders = (await crawl.find(self._runtime.monotonic() + CRAWL_S))[:REPLICAS]
        for record in records:
            if "kept" in await bring(self._protocol, record, holders):
                self._storage.republished(record)

    async def _refresh(self) -> None:
        for target in self._protocol.router.refresh_ids(self._runtime.random()):
            await NodeCrawl(self._runtime, self._protocol, Node(target), KSIZE).find(self._runtime.monotonic() + CRAWL_S)

    # ---- disk -----------------------------------------------------------------------------------------------------

    async def save(self) -> None:
        """What is new since the last time. A disk that refuses is tried again with the next minute: the memory serves meanwhile."""
        try:
            await self._save_records()
            if self._met:
                await self._save_contacts()
                self._met = False
        except NotAvailable as error:
            log.warning("records and contacts not saved; trying again in a minute", reason=str(error))

    async def _save_records(self) -> None:
        self._changed.clear()
        held, gone = self._storage.changes()
        if self._record_book is None or not (held or gone):
            return
        saved = False
        try:
            await self._record_book.save(held, gone)
            saved = True
        finally:
            if not saved:  # cancelled on the way down, most likely: `Dht.close` saves once more
                self._storage.unsaved(held, gone)

    async def _save_contacts(self) -> None:
        """The contacts nearest to us; none is no news: a node that lost everybody keeps the last ones it knew."""
        near = self._protocol.router.find_neighbors(self._protocol.source_node, MAX_SAVED_CONTACTS)
        if self._contact_book is not None and near:
            await self._contact_book.save([contact_of(node) for node in near])
