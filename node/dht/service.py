"""The DHT as the rest of the node sees it: `put`, `get`, `delete`, and a way in."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass

from kademlia.node import Node

from node.dht.join import Join
from node.dht.lookup import NodeCrawl, ValueCrawl
from node.dht.placement import REPLICAS, SEARCH_WIDTH, bring
from node.dht.rpc import KadProtocol
from node.dht.storage import ContactBook, Quotas, RecordBook, Storage
from node.dht.table import contact_of, node_of
from node.dht.upkeep import Upkeep
from node.runtime import Runtime
from protocol.errors import Conflict, InvalidRequest, LocalError, NotAvailable, RequestTooLarge
from protocol.identity import ID_BYTES, Credentials, NodeId
from protocol.messages import Contact
from protocol.records import MAX_SUBKEY, MAX_TTL_S, MAX_VALUE, Record, Slots, key_of, living, next_seq, sign

OPERATION_S = 5.0
"""One deadline for all of a `get`, or for the look-up of a `put`; storing adds at most one call's time for each round of holders."""
QUORUM = 3
"""Holders that a write wants at least; with fewer, this node keeps the record too."""


@dataclass(frozen=True, slots=True)
class PutResult:
    seq: int
    replicas: int
    """Nodes that confirmed they hold it, this one included."""
    expires_at: int


@dataclass(frozen=True, slots=True)
class DhtStats:
    """For metrics; counts are since the start."""

    contacts: int
    sessions: int
    records: int
    calls: int
    timeouts: int
    served: int
    dropped: dict[str, int]
    """Datagrams that led to nothing, by reason."""


class Dht:
    """One node of the DHT. `listen`, then `start`, then ask; `close` at the end."""

    key_of = staticmethod(key_of)

    def __init__(
        self,
        runtime: Runtime,
        credentials: Credentials,
        *,
        contacts: ContactBook | None = None,
        records: RecordBook | None = None,
        quotas: Quotas = Quotas(),  # noqa: B008  # immutable
    ) -> None:
        self._runtime = runtime
        self._credentials = credentials
        self._storage = Storage(runtime.now, quotas, self._on_change)
        self._protocol = KadProtocol(runtime, credentials, self._storage, on_new=self._on_new, on_lost=self._on_lost, on_full=self._on_full)
        self._join = Join(runtime, self._protocol)
        self._contact_book, self._record_book = contacts, records
        self._upkeep = Upkeep(runtime, self._protocol, self._storage, contacts, records)
        self._tasks: list[asyncio.Task[None]] = []
        self._last_seq = 0

    # ---- life -----------------------------------------------------------------------------------------------------

    async def listen(self, host: str, port: int) -> int:
        """Bind the UDP socket, take back what the books kept, and return the port. Raises `Conflict` when it is taken."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: self._protocol, local_addr=(host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(f"UDP port {port} is in use on this machine: stop what holds it, or choose another with --port.") from error
            raise NotAvailable(f"Cannot listen on {host}:{port} over UDP ({error.strerror}): choose another --host or --port.") from error
        await self._restore()
        return int(transport.get_extra_info("sockname")[1])

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to join and to keep up; `tasks` sees every one of these fail."""
        loops = {
            "dht join": self._join.run(),
            "dht hand-over": self._upkeep.hand_over(),
            "dht check": self._upkeep.check_doubted(),
            "dht upkeep": self._upkeep.tick(),
            "dht save": self._upkeep.keep_saved(),
        }
        self._tasks = [tasks.create_task(loop, name=name) for name, loop in loops.items()]

    async def close(self) -> None:
        """Stop, save, and close the socket; idempotent. Calls under way end with `Unreachable`."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            return
        transport.close()
        await self._upkeep.save()

    async def _restore(self) -> None:
        if self._record_book is not None:
            self._storage.restore(await self._record_book.load())
            own = self._credentials.key.public
            mine = (r.seq for _, records in self._storage for r in records if r.author == own)
            self._last_seq = max(mine, default=0)
        if self._contact_book is not None:
            for contact in await self._contact_book.load():
                self.seen(contact)

    # ---- who is there ---------------------------------------------------------------------------------------------

    def add_bootstrap(self, address: str) -> None:
        """HOST:PORT of any member, tried for ever with back-off. Raises `InvalidRequest`."""
        self._join.add_bootstrap(address)

    def seen(self, contact: Contact) -> None:
        """The overlay knows this member to be alive: get to know it."""
        self._join.add(node_of(contact))

    def forget(self, node_id: NodeId) -> None:
        """The overlay knows this member to be dead, gone or evicted."""
        self._join.forget(node_id)
        self._protocol.sessions.forget(node_id)
        contact = self._protocol.router.get(node_id)
        if contact is not None:
            self._protocol.router.remove_contact(contact)

    def renew(self, credentials: Credentials) -> None:
        """Use a renewed certificate of the same key."""
        if credentials.node_id != self._credentials.node_id:
            raise LocalError("a renewed certificate is for the same key")
        self._credentials = credentials
        self._protocol.sessions.renew(credentials)

    async def ready(self) -> None:
        """Until the first addresses have been greeted once, and the first look-up is done where one answered. At most some seconds."""
        await self._join.first_round.wait()

    @property
    def joined(self) -> bool:
        """A look-up of our own id was done where a peer answered."""
        return self._join.joined

    @property
    def contacts(self) -> list[Contact]:
        """The routing table, nearest to this node first."""
        everyone = self._protocol.router.contacts()
        return [contact_of(node) for node in sorted(everyone, key=self._protocol.source_node.distance_to)]

    @property
    def stats(self) -> DhtStats:
        counts, sessions = self._protocol.counts, self._protocol.sessions
        refused = {reason: counts[reason] for reason in ("malformed", "refused", "unasked") if counts[reason]}
        return DhtStats(
            contacts=len(self._protocol.router.contacts()),
            sessions=len(sessions),
            records=len(self._storage),
            calls=counts["calls"],
            timeouts=counts["timeouts"],
            served=counts["served"],
            dropped=dict(sessions.dropped) | refused,
        )

    # ---- values ---------------------------------------------------------------------------------------------------

    async def put(self, key: bytes, subkey: str, value: bytes, ttl_s: int) -> PutResult:
        """Write this node's value under (key, subkey). Raises `InvalidRequest`, `RequestTooLarge`, `NotAvailable` (nobody kept it)."""
        if len(value) > MAX_VALUE:
            raise RequestTooLarge(f"A value of {len(value)} bytes is too long for the DHT: at most {MAX_VALUE}.")
        if not 1 <= ttl_s <= MAX_TTL_S:
            raise InvalidRequest(f"A value lives 1 to {MAX_TTL_S} seconds, not {ttl_s}.", param="ttl_s")
        return await self._write(key, subkey, value, ttl_s, deleted=False)

    async def delete(self, key: bytes, subkey: str) -> PutResult:
        """Bury this node's value under (key, subkey). The tombstone lives as long as any record may, so nothing older returns."""
        return await self._write(key, subkey, b"", MAX_TTL_S, deleted=True)

    async def get(self, key: bytes) -> list[Record]:
        """Every writer's live value, verified and merged from up to three holders; what is known by the deadline."""
        _check_place(key, "")
        return living(await self._read(key), self._runtime.now())

    async def _read(self, key: bytes) -> Slots:
        crawl = ValueCrawl(self._runtime, self._protocol, Node(key), SEARCH_WIDTH, self._storage.get(key))
        await crawl.find(self._runtime.monotonic() + OPERATION_S)
        return crawl.slots

    async def _write(self, key: bytes, subkey: str, value: bytes, ttl_s: int, *, deleted: bool) -> PutResult:
        _check_place(key, subkey)
        crawl = NodeCrawl(self._runtime, self._protocol, Node(key), SEARCH_WIDTH)
        nearest = await crawl.find(self._runtime.monotonic() + OPERATION_S)
        record = self._sign(key, subkey, value, ttl_s, deleted)
        verdicts = await self._place(record, nearest)
        # stale alone: a newer value of ours, written meanwhile, may stand
        if "stale" in verdicts and await self._outdated(record):
            record = self._sign(key, subkey, value, ttl_s, deleted)
            verdicts = await self._place(record, nearest)
        replicas = verdicts.count("kept")
        if not replicas and "stale" not in verdicts:
            raise NotAvailable(f"No node kept the value ({', '.join(sorted(set(verdicts)))}): try again later, or with fewer values.")
        return PutResult(record.seq, replicas, record.expires_at)

    def _sign(self, key: bytes, subkey: str, value: bytes, ttl_s: int, deleted: bool) -> Record:
        now = self._runtime.now()
        self._last_seq = next_seq(self._last_seq, now)
        expires_at = int(now) + ttl_s
        return sign(self._credentials.key, key=key, subkey=subkey, seq=self._last_seq, value=value, expires_at=expires_at, deleted=deleted)

    async def _place(self, record: Record, nearest: list[Node]) -> list[str]:
        """Bring a record to the nearest nodes, this one among them; where some fail the next nearest take their place."""
        key, own = Node(record.key), self._protocol.source_node
        near = sorted([*nearest, own], key=key.distance_to)
        verdicts: list[str] = []
        while near and verdicts.count("kept") < REPLICAS and "stale" not in verdicts:
            batch = near[: REPLICAS - verdicts.count("kept")]
            near = near[len(batch) :]
            verdicts += await bring(self._protocol, record, [node for node in batch if node is not own])
            if own in batch:
                verdicts.append(self._storage.offer(record))
        if own in near and verdicts.count("kept") < QUORUM:
            verdicts.append(self._storage.offer(record))
        return verdicts

    async def _outdated(self, record: Record) -> bool:
        """Whether our clock is behind a value that we wrote in an earlier life; if so the next seq will be above it."""
        newest = (await self._read(record.key)).get((record.author, record.subkey), record)
        outdated = newest.seq > self._last_seq
        self._last_seq = max(self._last_seq, newest.seq)
        return outdated

    # ---- wiring ---------------------------------------------------------------------------------------------------

    def _on_change(self) -> None:
        self._upkeep.changed()

    def _on_new(self, node: Node) -> None:
        self._upkeep.newcomer(node)
        self._join.met(node)

    def _on_lost(self, node: Node) -> None:
        self._join.lost(node)

    def _on_full(self, head: Node) -> None:
        self._upkeep.doubt(head)


def _check_place(key: bytes, subkey: str) -> None:
    if len(key) != ID_BYTES:
        raise InvalidRequest(f"A DHT key has {ID_BYTES} bytes, not {len(key)}: use `Dht.key_of` for a name.", param="key")
    if len(subkey.encode()) > MAX_SUBKEY:
        raise InvalidRequest(f"A subkey of more than {MAX_SUBKEY} bytes is too long.", param="subkey")
