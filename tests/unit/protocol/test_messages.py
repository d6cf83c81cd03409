"""Every message survives the wire, and the tag table never changes under a number once used."""

from __future__ import annotations

import types
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import messages
from protocol.codec import MAX_DATAGRAM, MAX_FRAME, decode_datagram, decode_frame, encode
from protocol.errors import Malformed, TooLarge
from protocol.messages import Datagram, Frame

TAGS = {
    1: "Hello",
    2: "Goodbye",
    3: "Refusal",
    10: "AgentSummary",
    11: "Announcement",
    12: "Gossip",
    13: "MembersRequest",
    14: "Members",
    15: "NeighbourRequest",
    16: "NeighbourReply",
    17: "NeighbourDrop",
    18: "Probe",
    20: "CouncilCall",
    24: "CanaryCall",
    25: "CanaryVotes",
    26: "FeedbackNotice",
    27: "Done",
    30: "BirthOffer",
    31: "BirthReply",
    32: "GenomeRequest",
    33: "GenomeChunk",
    34: "Birth",
    35: "AnswerRated",
    40: "CellStart",
    41: "CellMessage",
    42: "CellReport",
    50: "ReceiptRequest",
    51: "ReceiptReply",
    52: "Commitments",
    53: "RevealCall",
    54: "Reveals",
    80: "CellControl",
    60: "Contact",
    61: "Ping",
    62: "Pong",
    63: "FindNode",
    64: "Contacts",
    65: "FindValue",
    66: "Values",
    67: "Store",
    68: "Stored",
    70: "ReadRows",
    71: "RowVectors",
    72: "JudgeRows",
    73: "RowJudgements",
    74: "LabelSync",
    75: "LabelNews",
    85: "BlobOffer",
    86: "BlobRequest",
    87: "BlobChunk",
    90: "CellBundle",
    91: "HostLinks",
    92: "RunClaim",
    93: "RunHome",
}
"""Append only. A number once used is never used for anything else (21 to 23 were an earlier form of 52 to 54)."""


def tagged_structs() -> dict[int, type[msgspec.Struct]]:
    found: dict[int, type[msgspec.Struct]] = {}
    for value in vars(messages).values():
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__struct_config__.tag is not None:
            tag = value.__struct_config__.tag
            assert isinstance(tag, int)
            assert tag not in found, f"{value.__name__} and {found[tag].__name__} share tag {tag}"
            found[tag] = value
    return found


def strategy(annotation: object) -> st.SearchStrategy[object]:
    """Values for a wire type, from its annotations."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return struct_strategy(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        metas = [meta for meta in args[1:] if isinstance(meta, msgspec.Meta)]
        return constrained(args[0], metas[0]) if metas else strategy(args[0])
    if origin is list:
        return st.lists(strategy(args[0]), max_size=2)
    if origin is tuple:
        return st.tuples(*(strategy(one) for one in args))
    if origin is dict:
        return st.dictionaries(strategy(args[0]), strategy(args[1]), max_size=2)
    if args and type(None) in args:
        return st.none() | strategy(next(arg for arg in args if arg is not type(None)))
    return constrained(annotation, msgspec.Meta())


def constrained(base: object, meta: msgspec.Meta) -> st.SearchStrategy[object]:
    low, high = meta.min_length or 0, meta.max_length
    if base is bytes:
        return st.binary(min_size=low, max_size=min(high or 64, low + 64))
    if base is str:
        return st.text(min_size=low, max_size=min(high or 20, low + 20))
    if base is bool:
        return st.booleans()
    if base is int:
        return st.integers(int(meta.ge or 0), int(meta.le) if meta.le is not None else 2**63 - 1)
    if base is float:
        return st.floats(meta.ge, meta.le, allow_nan=False, allow_infinity=False)
    if typing.get_origin(base) is list:
        (inner,) = typing.get_args(base)
        return st.lists(strategy(inner), min_size=low, max_size=max(low, min(high or 2, 2)))
    if typing.get_origin(base) is dict:
        key, value = typing.get_args(base)
        return st.dictionaries(strategy(key), strategy(value), max_size=2)
    if typing.get_origin(base) in (typing.Union, types.UnionType):
        return st.one_of([strategy(one) for one in typing.get_args(base)])
    if typing.get_origin(base) is tuple:
        return strategy(base)
    raise AssertionError(f"no strategy for {base}")


def struct_strategy(struct: type[msgspec.Struct]) -> st.SearchStrategy[typing.Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    return st.builds(struct, **{name: strategy(hints[name]) for name in struct.__struct_fields__})


def members(union: object) -> list[type[msgspec.Struct]]:
    return list(typing.get_args(union))


def test_the_tag_table_is_append_only() -> None:
    assert {tag: struct.__name__ for tag, struct in sorted(tagged_structs().items())} == TAGS


@pytest.mark.parametrize("struct", members(messages.LinkMessage), ids=lambda struct: struct.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_link_message_survives_the_wire(struct: type[msgspec.Struct], data: st.DataObject) -> None:
    frame = Frame(data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)), data.draw(struct_strategy(struct)))
    assert decode_frame(encode(frame)) == frame


@pytest.mark.parametrize("struct", members(messages.DatagramMessage), ids=lambda struct: struct.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_datagram_survives_the_wire(struct: type[msgspec.Struct], data: st.DataObject) -> None:
    datagram = Datagram(1, 0, data.draw(struct_strategy(struct)))
    encoded = encode(datagram)
    if len(encoded) <= MAX_DATAGRAM:
        assert decode_datagram(encoded) == datagram


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_frame, decode_datagram):
        try:
            decode(data)
        except Malformed:
            continue


def test_an_oversized_message_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooLarge):
        decode_frame(bytes(MAX_FRAME + 1))
    with pytest.raises(TooLarge):
        decode_datagram(bytes(MAX_DATAGRAM + 1))


def test_a_length_over_its_limit_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode_frame(encode(Frame(0, 0, messages.Goodbye("x" * 513))))
