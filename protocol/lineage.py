"""Where an agent comes from, as a chain that hashes: an agent's id is the hash of its descent, which names its parent's id.

So nobody can give an agent another parent, genome or place of conception afterwards. Each link is signed by the node that conceived
the agent. The chain is shown newest first and holds the last `MAX_LINKS` births; the founder's id stands in every link, so that a family is
known by it however long ago it began. It proves who conceived whom, not that the genome is any good. An agent that learns keeps its id:
the genome named is the one it was born with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.identity import ID_BYTES, NodeKey, verify

MAX_LINKS: Final = 32
NONCE_BYTES: Final = 16
NO_SIGNATURE: Final = bytes(64)
_CONTEXT: Final = b"descent"


class Descent(Struct, frozen=True, array_like=True):
    """One birth."""

    parent: Annotated[bytes, Meta(max_length=20)]
    """Empty for a founder."""
    founder: Annotated[bytes, Meta(max_length=20)]
    """Id of the first of the family; empty for the founder itself."""
    generation: Annotated[int, Meta(ge=0, le=2**31)]
    genome: Annotated[bytes, Meta(min_length=32, max_length=32)]
    """Hash of the genome it was born with."""
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    """Public key of the node that conceived it."""
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    mate: Annotated[bytes, Meta(max_length=20)] = b""
    """The second parent, where there was one; the chain goes on with the first."""


def agent_id_of(descent: Descent) -> bytes:
    """20 bytes of SHA-256 over everything but the signature, and the mate only where there is one: lines of before there were mates
    keep their ids."""
    fields = msgspec.structs.astuple(msgspec.structs.replace(descent, signature=NO_SIGNATURE))
    return hashlib.sha256(b"moot descent 1" + msgspec.msgpack.encode(fields if descent.mate else fields[:-1])).digest()[:ID_BYTES]


def founder_of(chain: Sequence[Descent]) -> bytes:
    """The id of the family; empty for an agent whose origin nobody recorded."""
    return (chain[0].founder or agent_id_of(chain[0])) if chain else b""


def conceive(
    key: NodeKey, parent: bytes, chain: Sequence[Descent], generation: int, genome: bytes, nonce: bytes, mate: bytes = b""
) -> tuple[bytes, list[Descent]]:
    """The id and chain of a child of `parent` (empty: a founder), whose own chain is `chain` (empty where nobody recorded it)."""
    founder = (founder_of(chain) or parent) if parent else b""
    blank = Descent(parent, founder, generation, genome, key.public, nonce, NO_SIGNATURE, mate)
    child = agent_id_of(blank)
    return child, [msgspec.structs.replace(blank, signature=key.sign(_CONTEXT, child)), *chain][:MAX_LINKS]


def check_lineage(chain: Sequence[Descent], child: bytes, parent: bytes, generation: int, genome: bytes) -> None:
    """The chain is this child's and every link hashes and is signed. Raises `Malformed` or `BadSignature`."""
    if not 1 <= len(chain) <= MAX_LINKS:
        raise Malformed(f"a lineage of {len(chain)} links: it has 1 to {MAX_LINKS}")
    newest, expected = chain[0], child
    if (newest.parent, newest.generation, newest.genome) != (parent, generation, genome):
        raise Malformed("the lineage is of another child")
    for older, link in zip([*chain[1:], None], chain, strict=True):
        if agent_id_of(link) != expected:
            raise Malformed("the lineage does not hash")
        if link.mate and (not link.parent or link.mate == link.parent):
            raise Malformed("a birth in the lineage has a mate and no parent, or twice the same")
        verify(link.key, link.signature, _CONTEXT, expected)
        expected = link.parent
        if older is None:
            continue
        if not link.parent or older.generation + 1 != link.generation or (older.founder or link.parent) != link.founder:
            raise Malformed("two links of the lineage are not parent and child")
