"""What a holder keeps: by signature, rule, quota and time."""

from __future__ import annotations

import msgspec
import pytest

from node.dht.storage import Quotas, Storage
from protocol.identity import NodeKey
from protocol.records import MAX_TTL_S, SKEW_S, Record, cursor_of, key_of, living, merge, sign

ALICE, BOB = (NodeKey.from_seed(bytes([number]) * 32) for number in (1, 2))
KEY = key_of("weather")
START = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(clock: Clock) -> Storage:
    return Storage(clock, Quotas(total=8, per_author=6, per_sponsor=5, per_key=4, per_key_and_author=3), lambda: None)


def record(author: NodeKey = ALICE, *, key: bytes = KEY, subkey: str = "", seq: int = 1, value: bytes = b"rain", ttl: float = 60) -> Record:
    return sign(author, key=key, subkey=subkey, seq=seq, value=value, expires_at=int(START + ttl))


def grave(seq: int, ttl: float = 60) -> Record:
    return sign(ALICE, key=KEY, subkey="", seq=seq, value=b"", expires_at=int(START + ttl), deleted=True)


def test_a_forged_record_is_refused(storage: Storage) -> None:
    assert storage.offer(msgspec.structs.replace(record(), value=b"sun")) == "forged"
    assert storage.offer(msgspec.structs.replace(record(), author=BOB.public)) == "forged"
    assert storage.get(KEY) == []


def test_a_forged_update_leaves_the_true_value(storage: Storage) -> None:
    storage.offer(record())
    assert storage.offer(msgspec.structs.replace(record(), seq=2)) == "forged"
    assert storage.get(KEY) == [record()]


def test_a_stale_record_is_refused_and_the_same_one_is_kept(storage: Storage) -> None:
    assert storage.offer(record(seq=2)) == "kept"
    assert storage.offer(record(seq=1)) == "stale"
    assert storage.offer(record(seq=2)) == "kept"
    assert storage.get(KEY) == [record(seq=2)]


def test_one_author_cannot_write_for_another(storage: Storage) -> None:
    storage.offer(record(ALICE))
    storage.offer(record(BOB, seq=9, value=b"sun"))
    assert {held.value for held in storage.get(KEY)} == {b"rain", b"sun"}


def test_a_record_that_expired_or_would_never_is_refused(storage: Storage) -> None:
    assert storage.offer(record(ttl=0)) == "expired"
    assert storage.offer(record(ttl=MAX_TTL_S + SKEW_S + 1)) == "expired"
    assert storage.offer(record(ttl=MAX_TTL_S + SKEW_S)) == "kept"


def test_a_tombstone_keeps_older_values_out(storage: Storage) -> None:
    storage.offer(record(seq=1))
    assert storage.offer(grave(2)) == "kept"
    assert storage.offer(record(seq=1)) == "stale"
    assert living(merge(storage.get(KEY)), START) == []


def test_a_short_lived_update_hides_the_longer_lived_value_before_it(storage: Storage, clock: Clock) -> None:
    storage.offer(record(seq=1, ttl=600))
    storage.offer(record(seq=2, ttl=60))
    clock.now += 120
    storage.expire()
    assert storage.offer(record(seq=1, ttl=600)) == "stale"
    assert living(merge(storage.get(KEY), [record(seq=1, ttl=600)]), clock.now) == []
    clock.now += 600
    assert storage.expire() == 1
    assert len(storage) == 0


def test_storing_again_never_extends_a_life(storage: Storage, clock: Clock) -> None:
    storage.offer(record(ttl=60))
    clock.now += 59
    storage.offer(record(ttl=60))
    clock.now += 2
    storage.expire()
    assert storage.get(KEY) == []


@pytest.mark.parametrize(
    ("many", "limit"),
    [
        (lambda i: record(subkey=str(i)), 3),
        (lambda i: record(NodeKey.from_seed(bytes([i + 1]) * 32)), 4),
        (lambda i: record(key=key_of(str(i))), 6),
        (lambda i: record(NodeKey.from_seed(bytes([i + 1]) * 32), key=key_of(str(i))), 8),
    ],
    ids=["an author under one key", "a key", "an author", "a node"],
)
def test_quotas_hold(storage: Storage, many: object, limit: int) -> None:
    verdicts = [storage.offer(many(i)) for i in range(12)]  # type: ignore[operator]
    assert verdicts[:limit] == ["kept"] * limit
    assert set(verdicts[limit:]) <= {"quota", "full"}
    assert len(storage) == limit


def test_a_peer_that_mints_authors_fills_no_more_than_its_share(storage: Storage) -> None:
    minted = [record(NodeKey.from_seed(bytes([i + 1]) * 32), key=key_of(str(i))) for i in range(8)]
    assert [storage.offer(r, sponsor=b"sybil") for r in minted].count("kept") == 5
    assert storage.offer(minted[7], sponsor=b"honest") == "kept"


def test_a_full_store_still_takes_an_update_and_room_that_expiry_makes(storage: Storage, clock: Clock) -> None:
    authors = [NodeKey.from_seed(bytes([i + 1]) * 32) for i in range(8)]
    for i, author in enumerate(authors):
        storage.offer(record(author, key=key_of(str(i))))
    assert storage.offer(record(authors[0], key=key_of("0"), seq=2)) == "kept"
    assert storage.offer(record(key=key_of("new"), ttl=3600)) == "full"
    clock.now += 61
    storage.expire()
    assert storage.offer(record(key=key_of("new"), ttl=3600)) == "kept"


def test_pages_cover_every_record_once(storage: Storage) -> None:
    for author in (ALICE, BOB):
        for subkey in ("", "a"):
            storage.offer(record(author, subkey=subkey))
    first = storage.page(KEY, b"")
    assert len(first) == 4
    assert storage.page(KEY, cursor_of(first[1])) == first[2:]
    assert storage.page(KEY, cursor_of(first[3])) == []


def test_republishing_is_due_an_hour_after_anybody_stored_it(storage: Storage, clock: Clock) -> None:
    storage.offer(record(ttl=9000))
    assert storage.iter_older_than(3600) == []
    clock.now += 3600
    assert storage.iter_older_than(3600) == [(KEY, [record(ttl=9000)])]
    storage.offer(record(ttl=9000))
    assert storage.iter_older_than(3600) == []
    clock.now += 3600
    storage.republished(record(ttl=9000))
    assert storage.iter_older_than(3600) == []


def test_changes_are_told_once_and_survive_a_restart(storage: Storage, clock: Clock) -> None:
    storage.offer(record())
    storage.offer(record(BOB, ttl=600))
    saved, gone = storage.changes()
    assert (len(saved), gone) == (2, [])
    assert storage.changes() == ([], [])
    clock.now += 61
    storage.expire()
    assert storage.changes() == ([], [(KEY, ALICE.public, "")])
    again = Storage(clock, Quotas(), lambda: None)
    again.restore(saved)
    assert again.get(KEY) == [record(BOB, ttl=600)]
    assert again.changes() == ([], [])


def test_restoring_never_overwrites_what_came_in_meanwhile(storage: Storage) -> None:
    storage.offer(record(seq=2))
    storage.restore([record(seq=1)])
    assert storage.get(KEY) == [record(seq=2)]
    assert len(storage) == 1


def test_kademlias_storage_interface_merges_too(storage: Storage) -> None:
    storage[KEY] = record(seq=2)
    storage[KEY] = record(seq=1)
    assert storage[KEY] == [record(seq=2)]
    assert list(storage) == [(KEY, [record(seq=2)])]
