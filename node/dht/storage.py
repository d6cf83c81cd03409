"""The records this node holds for the swarm: merged by rule, bounded by quotas, forgotten when their time is over.

Also what outlives the process: `ContactBook` and `RecordBook` are the interfaces that the daemon backs with its database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from kademlia.storage import IStorage

from protocol.errors import PeerError
from protocol.messages import Contact
from protocol.records import MAX_TTL_S, SKEW_S, Record, Slot, beats, cursor_of, slot_of, verify_record

Verdict: TypeAlias = Literal["kept", "stale", "expired", "quota", "full", "forged"]
"""kept: it is held now (or was). stale: a newer one of its slot is held. The rest: refused."""
Place: TypeAlias = tuple[bytes, bytes, str]
"""(key, author, subkey)."""


class ContactBook(Protocol):
    """Contacts that survive a restart."""

    async def load(self) -> list[Contact]: ...

    async def save(self, contacts: list[Contact]) -> None:
        """Replace what was saved before."""


class RecordBook(Protocol):
    """Records that survive a restart."""

    async def load(self) -> list[Record]: ...

    async def save(self, records: list[Record], gone: list[Place]) -> None:
        """One batch: insert or replace `records` by (key, author, subkey), delete `gone`."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many records a node holds. A record takes about 1.2 KB of memory."""

    total: int = 20_000
    per_author: int = 2_000
    per_sponsor: int = 10_000
    """Records one peer brought: an author's name costs nothing, a membership does."""
    per_key: int = 256
    per_key_and_author: int = 64


@dataclass(slots=True)
class _Held:
    record: Record
    hides_until: int
    """Latest expiry of any record that this slot has held: until then an older one must not come back."""
    stored_at: float
    sponsor: bytes


class Storage(IStorage):  # type: ignore[misc]  # kademlia is untyped
    """key -> slots. `now` is the wall clock; `on_change` is called whenever there is something for the `RecordBook`."""

    def __init__(self, now: Callable[[], float], quotas: Quotas, on_change: Callable[[], None]) -> None:
        self._now = now
        self._quotas = quotas
        self._on_change = on_change
        self._keys: dict[bytes, dict[Slot, _Held]] = {}
        self._count = 0
        self._of_author: Counter[bytes] = Counter()
        self._of_sponsor: Counter[bytes] = Counter()
        self._changed: dict[Place, None] = {}

    def __len__(self) -> int:
        return self._count

    def offer(self, record: Record, sponsor: bytes = b"") -> Verdict:
        """Take a record from a peer (`sponsor`) or from ourselves. The signature is checked last: it costs most."""
        now = self._now()
        held = self._keys.get(record.key, {}).get(slot_of(record))
        if record.expires_at <= now or record.expires_at > now + MAX_TTL_S + SKEW_S:
            return "expired"
        if held is not None and held.record == record:
            held.stored_at = now
            return "kept"
        if held is not None and not beats(record, held.record):
            return "stale"
        refused = self._over_quota(record, sponsor) if held is None else None
        if refused is not None:
            return refused
        try:
            verify_record(record)
        except PeerError:
            return "forged"
        self._hold(record, held, sponsor, now)
        return "kept"

    def restore(self, records: list[Record]) -> None:
        """Take back what a `RecordBook` saved. Readers verify every record, so a damaged one harms nobody."""
        for record in records:
            known = self._keys.get(record.key, {}).get(slot_of(record))
            if known is None and record.expires_at > self._now() and self._over_quota(record, b"") is None:
                self._hold(record, None, b"", self._now())
        self._changed.clear()

    def _over_quota(self, record: Record, sponsor: bytes) -> Verdict | None:
        slots = self._keys.get(record.key, {})
        if self._count >= self._quotas.total:
            return "full"
        crowded = (
            self._of_author[record.author] >= self._quotas.per_author
            or (sponsor and self._of_sponsor[sponsor] >= self._quotas.per_sponsor)
            or len(slots) >= self._quotas.per_key
            or sum(author == record.author for author, _ in slots) >= self._quotas.per_key_and_author
        )
        return "quota" if crowded else None

    def _hold(self, record: Record, before: _Held | None, sponsor: bytes, now: float) -> None:
        if before is not None:
            hides_until = max(before.hides_until, record.expires_at)
            self._keys[record.key][slot_of(record)] = _Held(record, hides_until, now, before.sponsor)
        else:
            self._keys.setdefault(record.key, {})[slot_of(record)] = _Held(record, record.expires_at, now, sponsor)
            self._count += 1
            self._of_author[record.author] += 1
            self._of_sponsor[sponsor] += 1
        self._note(record)

    # ---- kademlia's storage interface -----------------------------------------------------------------------------

    def __setitem__(self, key: bytes, record: Record) -> None:
        """`offer` for those who do not ask what became of it."""
        self.offer(record)

    def __getitem__(self, key: bytes) -> list[Record]:
        return [held.record for held in self._keys[key].values()]

    def get(self, key: bytes, default: None = None) -> list[Record]:
        """Every slot's winner: tombstones and expired ones that still hide an older record too. Readers merge, then judge."""
        return self[key] if key in self._keys else []

    def __iter__(self) -> Iterator[tuple[bytes, list[Record]]]:
        return iter([(key, self[key]) for key in self._keys])

    def iter_older_than(self, seconds_old: float) -> list[tuple[bytes, list[Record]]]:
        """Unexpired records that nobody has stored here again for this long: due to be republished."""
        now = self._now()
        due = ((key, [h.record for h in slots.values() if _due(h, now, seconds_old)]) for key, slots in self._keys.items())
        return [(key, records) for key, records in due if records]

    # ---- paging, time, disk ---------------------------------------------------------------------------------------

    def page(self, key: bytes, after: bytes) -> list[Record]:
        """Records of a key in order of (author, subkey), from behind the cursor on (`protocol.records.cursor_of`)."""
        records = sorted(self.get(key), key=cursor_of)
        return [record for record in records if cursor_of(record) > after] if after else records

    def keys(self) -> list[bytes]:
        return list(self._keys)

    def republished(self, record: Record) -> None:
        """This node has just brought a record to its holders."""
        held = self._keys.get(record.key, {}).get(slot_of(record))
        if held is not None:
            held.stored_at = self._now()

    def expire(self) -> int:
        """Forget every slot whose time is over; how many."""
        now = self._now()
        over = [held for slots in self._keys.values() for held in slots.values() if held.hides_until <= now]
        for held in over:
            self._forget(held)
        return len(over)

    def _forget(self, held: _Held) -> None:
        record = held.record
        slots = self._keys[record.key]
        del slots[slot_of(record)]
        if not slots:
            del self._keys[record.key]
        self._count -= 1
        for counter, name in ((self._of_author, record.author), (self._of_sponsor, held.sponsor)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        self._note(record)

    def _note(self, record: Record) -> None:
        self._changed[record.key, record.author, record.subkey] = None
        self._on_change()

    def changes(self) -> tuple[list[Record], list[Place]]:
        """What a `RecordBook` has not seen yet: (held, gone)."""
        records: list[Record] = []
        gone: list[Place] = []
        for place in self._changed:
            held = self._keys.get(place[0], {}).get(place[1:])
            if held is None:
                gone.append(place)
            else:
                records.append(held.record)
        self._changed = {}
        return records, gone

    def unsaved(self, records: list[Record], gone: list[Place]) -> None:
        """What `changes` told did not reach the `RecordBook`."""
        places = [(record.key, record.author, record.subkey) for record in records] + gone
        self._changed = dict.fromkeys(places) | self._changed


def _due(held: _Held, now: float, seconds_old: float) -> bool:
    return held.stored_at <= now - seconds_old and held.record.expires_at > now
