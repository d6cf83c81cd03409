"""Where an agent lives, as its node states it in the DHT, and which of two statements holds.

Key: the hash of the agent's id. The record is signed by the home's own key, expires, and is replaced by an empty one when the agent dies or
moves away. It also names the agent's last checkpoint (the hash of its state, a blob) and the nodes that keep it: should the home die, the
first of them that lives and has room revives the agent one epoch on. An epoch is a fence: wherever two copies meet, the one
with the higher epoch goes on, of equal epochs the one on the node with the smaller id. Epochs rise no faster than nodes can be confirmed
dead, one for each `CONFIRM_S`: what claims more is no claim. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.identity import NodeId
from protocol.records import key_of

SUBKEY: Final = "home"
COPIES: Final = 3
"""Nodes that keep an agent's checkpoint, besides its own."""

CONFIRM_S: Final = 120.0
"""Silence after which a node's agents are revived elsewhere."""
MAX_GIVEN_UP: Final = 64
"""Epochs by which a child that is looking for a home can have run ahead of a copy that was given up."""

Standing = tuple[int, NodeId]
"""(epoch, node): what a copy of an agent stands on."""


class Home(Struct, frozen=True, array_like=True):
    """The value of the record; at most 320 bytes."""

    brain: Annotated[str, Meta(max_length=64)]
    founder: Annotated[bytes, Meta(max_length=20)]
    epoch: Annotated[int, Meta(ge=0, le=2**62)]
    state: Annotated[bytes, Meta(max_length=32)] = b""
    """Hash of the last checkpoint, whose epoch is one more; empty before the first."""
    guardians: Annotated[list[Annotated[bytes, Meta(min_length=20, max_length=20)]], Meta(max_length=8)] = []
    """Who keeps it, in the order in which they revive."""


_decoder = msgspec.msgpack.Decoder(Home)


def home_key(agent_id: bytes) -> bytes:
    """Where the record of an agent lives."""
    return key_of(f"agent {agent_id.hex()}")


def read_home(value: bytes) -> Home | None:
    """None for an agent that no longer lives there. Raises `Malformed`."""
    if not value:
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"the record of an agent's home does not decode: {error}") from error


def rendezvous(agent_id: bytes, nodes: Iterable[NodeId]) -> list[NodeId]:
    """Nodes in the order in which they are asked to look after an agent; the same on every node that knows the same nodes
    (highest random weight: Thaler and Ravishankar, 1998)."""
    return sorted(nodes, key=lambda node: hashlib.sha256(b"moot guardian" + agent_id + node).digest())


def outranks(claim: Standing, other: Standing) -> bool:
    """Whether a copy with this standing goes on where it meets the other."""
    return claim[0] > other[0] or (claim[0] == other[0] and claim[1] < other[1])


def believable(claim: Standing, epoch: int, silence_s: float) -> bool:
    """Whether the epoch that is claimed can have come about since `epoch`: a revival takes `CONFIRM_S` of silence and raises it by one."""
    return claim[0] <= epoch + int(silence_s // CONFIRM_S)
