"""Bytes <-> message, with the size checked before anything is decoded.

MessagePack arrays (msgspec): no class name, no code, no object graph travels. A decoder accepts exactly the union of messages
that its transport may carry and checks every length and range in `protocol.messages` while decoding.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from protocol.errors import Malformed, TooLarge
from protocol.messages import Announcement, Datagram, Frame

MAX_FRAME = 8 * 1024 * 1024
"""Bytes of one frame on a link. The largest honest message (a page of members) is well below."""
MAX_DATAGRAM = 1_200
"""Bytes of one datagram: below every path MTU in practice (RFC 9000, section 14)."""

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_frame = msgspec.msgpack.Decoder(Frame)
_datagram = msgspec.msgpack.Decoder(Datagram)
_announcement = msgspec.msgpack.Decoder(Announcement)


def encode(message: msgspec.Struct) -> bytes:
    """Canonical for our structs: arrays in field order, shortest integers, so equal messages give equal bytes."""
    return _encoder.encode(message)


def decode_frame(data: bytes) -> Frame:
    """Raises `TooLarge` or `Malformed`."""
    return _decode(_frame, data, MAX_FRAME)


def decode_datagram(data: bytes) -> Datagram:
    """Raises `TooLarge` or `Malformed`."""
    return _decode(_datagram, data, MAX_DATAGRAM)


def decode_announcement(data: bytes) -> Announcement:
    """The body of a `member` gossip. Raises `TooLarge` or `Malformed`."""
    return _decode(_announcement, data, 65_536)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, limit: int) -> T:
    if len(data) > limit:
        raise TooLarge(f"a message of {len(data)} bytes; the limit is {limit}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"not a message of this protocol: {error}") from error
