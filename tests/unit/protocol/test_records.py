"""Records: nobody writes for another, and replicas agree whatever arrives in whatever order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadSignature, Malformed
from protocol.identity import NodeKey
from protocol.records import (
    MAX_VALUE,
    Record,
    alive,
    beats,
    cursor_of,
    key_of,
    living,
    merge,
    next_seq,
    sign,
    verify_record,
)

AUTHORS = [NodeKey.from_seed(bytes([number]) * 32) for number in range(1, 4)]
KEY = key_of("weather")
NOW = 1_800_000_000


def written(author: NodeKey = AUTHORS[0], subkey: str = "", seq: int = 1, value: bytes = b"rain", ttl: int = 60) -> Record:
    return sign(author, key=KEY, subkey=subkey, seq=seq, value=value, expires_at=NOW + ttl)


drawn_records = st.builds(
    written,
    author=st.sampled_from(AUTHORS),
    subkey=st.sampled_from(["", "a", "b"]),
    seq=st.integers(0, 4),
    value=st.sampled_from([b"rain", b"sun"]),
    ttl=st.sampled_from([-60, 60]),
) | st.builds(
    lambda author, seq: sign(author, key=KEY, subkey="", seq=seq, value=b"", expires_at=NOW + 60, deleted=True),
    author=st.sampled_from(AUTHORS),
    seq=st.integers(0, 4),
)
drawn_groups = st.lists(drawn_records, max_size=6)

CHANGES: dict[str, object] = {
    "key": key_of("another"),
    "author": AUTHORS[1].public,
    "subkey": "another",
    "seq": 2,
    "value": b"sun",
    "expires_at": NOW + 61,
    "deleted": True,
    "signature": bytes(64),
}


@pytest.mark.parametrize("field", Record.__struct_fields__)
def test_a_record_changed_in_any_field_is_refused(field: str) -> None:
    forged = msgspec.structs.replace(written(value=b""), **{field: CHANGES[field]})
    with pytest.raises(BadSignature):
        verify_record(forged)


def test_an_author_that_is_no_curve_point_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_record(msgspec.structs.replace(written(), author=b"\xff" * 32))


def test_a_tombstone_that_carries_a_value_is_refused() -> None:
    with pytest.raises(Malformed):
        verify_record(sign(AUTHORS[0], key=KEY, subkey="", seq=1, value=b"hidden", expires_at=NOW + 60, deleted=True))


def test_a_subkey_of_64_wide_characters_is_refused() -> None:
    with pytest.raises(Malformed):
        verify_record(written(subkey="ü" * 64))


@given(st.sampled_from(AUTHORS), st.text(max_size=16), st.integers(0, 2**63 - 1), st.binary(max_size=MAX_VALUE))
def test_a_signed_record_verifies_after_the_wire(author: NodeKey, subkey: str, seq: int, value: bytes) -> None:
    record = written(author, subkey, seq, value)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record)
    verify_record(again)
    assert again == record


@given(drawn_groups, drawn_groups)
def test_merge_is_commutative(one: list[Record], other: list[Record]) -> None:
    assert merge(one, other) == merge(other, one)


@given(drawn_groups, drawn_groups, drawn_groups)
def test_merge_is_associative(one: list[Record], two: list[Record], three: list[Record]) -> None:
    assert merge(merge(one, two).values(), three) == merge(one, merge(two, three).values())


@given(drawn_groups)
def test_merge_is_idempotent(group: list[Record]) -> None:
    assert merge(group, group) == merge(group) == merge(merge(group).values())


@given(drawn_groups, st.randoms(use_true_random=False))
def test_replicas_agree_whatever_the_order(group: list[Record], shuffler: object) -> None:
    shuffled = list(group)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(group) == merge(shuffled)


@given(drawn_records, drawn_records)
def test_of_two_records_in_one_slot_exactly_one_wins(one: Record, other: Record) -> None:
    assert beats(one, other) != beats(other, one) or one == other


def test_every_writer_is_visible() -> None:
    winners = merge([written(author, subkey) for author in AUTHORS for subkey in ("a", "b")])
    assert len(living(winners, NOW)) == 6


def test_an_older_value_does_not_return_after_a_newer_one_expired() -> None:
    long_lived, newest = written(seq=1, ttl=3600), written(seq=2, ttl=60)
    assert living(merge([long_lived, newest]), NOW + 120) == []


def test_a_tombstone_hides_what_its_author_wrote_before_and_nothing_else() -> None:
    grave = sign(AUTHORS[0], key=KEY, subkey="", seq=2, value=b"", expires_at=NOW + 60, deleted=True)
    others = written(AUTHORS[1])
    assert living(merge([written(seq=1), others, grave]), NOW) == [others]
    assert not alive(grave, NOW)


def test_pages_come_in_the_order_of_author_and_subkey() -> None:
    records = [written(author, subkey) for author in AUTHORS for subkey in ("b", "", "ü")]
    assert sorted(records, key=cursor_of) == sorted(records, key=lambda record: (record.author, record.subkey))


def test_seq_grows_while_the_clock_stands_still_or_goes_back() -> None:
    first = next_seq(0, 1_800_000_000.5)
    assert first == 1_800_000_000_500
    assert next_seq(first, 1_800_000_000.5) == first + 1
    assert next_seq(first, 1_700_000_000.0) == first + 1
