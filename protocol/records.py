"""Signed multi-writer records and their merge.

A key of the DHT holds one *slot* per (author, subkey): the shared memory has many writers and none can overwrite another. Within
a slot the record with the highest (seq, hash) wins, whoever brings it and in whatever order: the merge is a state-based CRDT (a
map of last-writer-wins registers; Shapiro et al., 2011, section 3.2). It never looks at a clock, so replicas agree; readers merge
first and ask afterwards which winners are alive, so that a newer record that expired still hides an older one that has not.

An author is a key, and a record proves only that this key wrote it: whether the key belongs to a member is known to the node that
took the record over a session, not to a later reader.

Pure: keys and times are arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.identity import ID_BYTES, NodeKey, verify

MAX_VALUE = 512
"""Bytes of a record's value; larger values are content-addressed (later) and the record carries their hash."""
MAX_SUBKEY = 64
"""Bytes of a subkey in UTF-8."""
MAX_TTL_S = 30 * 86_400
"""Seconds a record may live. Bounded, so that a tombstone of this length outlives whatever it buries."""
SKEW_S = 3_600
"""An author's clock may run this far ahead of a holder's, as with certificates (`protocol.identity.CLOCK_SKEW`)."""
CONTEXT = b"record"

_encoder = msgspec.msgpack.Encoder()


class Record(Struct, frozen=True, array_like=True):
    """One writer's value under (key, subkey). The signature covers every other field."""

    key: Annotated[bytes, Meta(min_length=20, max_length=20)]
    author: Annotated[bytes, Meta(min_length=32, max_length=32)]
    """The writer's raw public key; its node id is the hash of it."""
    subkey: Annotated[str, Meta(max_length=64)]
    seq: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    value: Annotated[bytes, Meta(max_length=MAX_VALUE)]
    expires_at: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """Absolute, seconds since the epoch: republishing never extends it."""
    deleted: bool
    """A tombstone: the value is empty and older values of this writer stay gone."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


Slot: TypeAlias = tuple[bytes, str]
"""(author, subkey): where a record lives under its key."""
Slots: TypeAlias = dict[Slot, Record]
"""The winners under one key."""


def key_of(text: str) -> bytes:
    """Where a name lives: the first 20 bytes of SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode()).digest()[:ID_BYTES]


def sign(signer: NodeKey, *, key: bytes, subkey: str, seq: int, value: bytes, expires_at: int, deleted: bool = False) -> Record:
    """A record by `signer`. The caller vouches for lengths (`Dht.put` checks them)."""
    unsigned = Record(key, signer.public, subkey, seq, value, expires_at, deleted, b"")
    return msgspec.structs.replace(unsigned, signature=signer.sign(CONTEXT, signed_part(unsigned)))


def signed_part(record: Record) -> bytes:
    """Canonical bytes of every field but the signature."""
    return _encoder.encode(msgspec.structs.astuple(record)[:-1])


def verify_record(record: Record) -> None:
    """Raise `BadSignature` unless its author wrote it, `Malformed` where a rule is broken that the decoder cannot see."""
    if len(record.subkey.encode()) > MAX_SUBKEY:
        raise Malformed(f"a subkey of more than {MAX_SUBKEY} bytes")
    if record.deleted and record.value:
        raise Malformed("a tombstone that carries a value")
    verify(record.author, record.signature, CONTEXT, signed_part(record))


def slot_of(record: Record) -> Slot:
    return record.author, record.subkey


def cursor_of(record: Record) -> bytes:
    """A slot as bytes; sorting these sorts by (author, subkey), which is the order pages come in."""
    return record.author + record.subkey.encode()


def rank(record: Record) -> tuple[int, bytes]:
    """(seq, hash): a total order, so that two records of equal seq have the same winner everywhere."""
    return record.seq, hashlib.sha256(signed_part(record) + record.signature).digest()


def beats(challenger: Record, holder: Record | None) -> bool:
    """Whether `challenger` takes the slot from `holder`."""
    if holder is None:
        return True
    if challenger.seq != holder.seq:
        return challenger.seq > holder.seq
    return rank(challenger) > rank(holder)


def merge(*groups: Iterable[Record]) -> Slots:
    """The winner of every slot: commutative, associative, idempotent. All records must be of one key and verified."""
    winners: Slots = {}
    for group in groups:
        for record in group:
            slot = slot_of(record)
            if beats(record, winners.get(slot)):
                winners[slot] = record
    return winners


def alive(record: Record, now: float) -> bool:
    """Neither expired nor a tombstone."""
    return not record.deleted and record.expires_at > now


def living(slots: Slots, now: float) -> list[Record]:
    """What a reader sees, in order of (author, subkey)."""
    return [slots[slot] for slot in sorted(slots) if alive(slots[slot], now)]


def next_seq(last: int, now: float) -> int:
    """Milliseconds of the wall clock, and more than `last` even where the clock stands still or went back."""
    return max(int(now * 1000), last + 1)
