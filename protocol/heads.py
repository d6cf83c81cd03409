"""Heads of a labelling project as data: what one is made of, how it divides, and what nodes tell each other of it.

A head's weights follow from its genome, the project's rows and its corrections; so the genome is all that travels and all that is kept.
Everything of a genome is bounded when it is decoded, and its name is the hash of its canonical bytes.

Pure: keys, times and chance are arguments.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.identity import NodeKey, verify
from protocol.messages.fields import Count, Hash, Name, PublicKey

MAX_HEADS = 8
"""Heads of a project that vote, its founders among them: what lies beyond dies, the least fit first."""
MAX_TOLD = 256
"""Heads of a project that a node remembers, the dead among them."""
MAX_GENERATION = 1_000
CONTEXT = b"labelling head"

FEWEST = 24
"""Corrections held back before any head divides."""
CLEARLY = 0.9
"""A head divides when its log-loss is below this share of the mean of the heads that vote."""
PATIENCE = 2
"""Measurements that a child has to show that it helps; then it dies and another may be born."""

Standing: TypeAlias = Literal["tried", "votes", "dead"]


class HeadGenome(Struct, frozen=True, array_like=True):
    """One learner. Fields that its kind does not use are passed over, but inherited."""

    kind: Literal["spread", "logistic"]
    """Label spreading over a nearest-neighbour graph, or multinomial logistic regression."""
    view: Literal["joint", "meaning"]
    """Embedding and n-grams, or the embedding alone (`node/label/views.py`)."""
    seed: Annotated[int, Meta(ge=0, lt=2**32)]
    """Of its n-gram hashing and its random features; 0 is the hashing that all founders share."""
    grams: Annotated[float, Meta(ge=0.0, le=2.0)]
    """Weight of the n-grams in the joint view."""
    features: Annotated[int, Meta(ge=0, le=1_024)]
    """Random features of a logistic head (Rahimi and Recht 2007); 0: the view itself."""
    width: Annotated[float, Meta(ge=0.25, le=8.0)]
    """How fast the random features change along the view."""
    l2: Annotated[float, Meta(ge=1e-6, le=1.0)]
    neighbours: Annotated[int, Meta(ge=2, le=48)]
    sharpness: Annotated[float, Meta(ge=1.0, le=32.0)]
    alpha: Annotated[float, Meta(ge=0.1, le=0.99)]
    generation: Annotated[int, Meta(ge=0, le=MAX_GENERATION)] = 0
    parent: Annotated[bytes, Meta(max_length=32)] = b""
    """The id of the head that it was born of; empty for a founder."""


class HeadStatement(Struct, frozen=True, array_like=True, tag="head"):
    """What a node says of a head of a project: born and on trial there, voting since held-back corrections showed that it helps, or dead.
    Of two statements on a head the one with the higher counter stands, then the later, then that of the greater key."""

    project: Name
    genome: HeadGenome
    standing: Standing
    bearer: PublicKey
    """The node that bore it."""
    counter: Count
    at: float
    author: PublicKey
    signature: bytes = b""


class Fitness(Struct, frozen=True, array_like=True):
    """A head on corrections that it had not seen, each counting for the rows of the pile that it stands for."""

    loss: float
    """Log-loss in nats."""
    accuracy: float
    corrections: int


_encoder = msgspec.msgpack.Encoder()
_genome = msgspec.msgpack.Decoder(HeadGenome)


def pack_head(genome: HeadGenome) -> bytes:
    """Canonical bytes."""
    return _encoder.encode(genome)


def read_head(data: bytes) -> HeadGenome:
    """Raises `Malformed` for what is no genome within bounds."""
    try:
        genome = _genome.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a head's genome: {error}") from error
    check_head(genome)
    return genome


def check_head(genome: HeadGenome) -> None:
    """What the decoder cannot see. Raises `Malformed`."""
    if not all(map(math.isfinite, (genome.grams, genome.width, genome.l2, genome.sharpness, genome.alpha))):
        raise Malformed("a head's genome holds a number that is none")
    if (genome.generation == 0) != (genome.parent == b"") or len(genome.parent) not in (0, 32):
        raise Malformed("a head without a parent must be a founder, and only that")


def head_id(genome: HeadGenome) -> Hash:
    return hashlib.sha256(pack_head(genome)).digest()


def show_head(head: bytes) -> str:
    """As people see it: eight characters."""
    return head.hex()[:8]


# ---- division ------------------------------------------------------------------------------------------------------------


def mutate(parent: HeadGenome, rng: random.Random) -> HeadGenome:
    """A child: another hashing of n-grams or other random features, and jittered hyper-parameters."""

    def jitter(value: float, low: float, high: float, spread: float = 0.35) -> float:
        return float(f"{min(high, max(low, value * math.exp(rng.gauss(0.0, spread)))):.4g}")

    child = msgspec.structs.replace(
        parent,
        seed=rng.randrange(1, 2**32),
        view=rng.choice(("joint", "joint", "meaning")),
        grams=jitter(parent.grams, 0.1, 2.0),
        generation=min(MAX_GENERATION, parent.generation + 1),
        parent=head_id(parent),
    )
    if parent.kind == "spread":
        return msgspec.structs.replace(
            child,
            neighbours=round(jitter(parent.neighbours, 4, 48)),
            sharpness=jitter(parent.sharpness, 1.0, 32.0),
            alpha=round(1 - jitter(1 - parent.alpha, 0.01, 0.5), 4),
        )
    return msgspec.structs.replace(
        child,
        l2=jitter(parent.l2, 1e-6, 1.0, 1.0),
        features=rng.choice((0, 512, 1_024)),
        width=jitter(parent.width, 0.25, 8.0),
    )


def who_divides(fits: Mapping[bytes, Fitness], voting: Sequence[bytes]) -> bytes | None:
    """The fittest of the voting heads, if it is clearly fitter than they are on average."""
    known = [head for head in voting if head in fits and fits[head].corrections >= FEWEST]
    if len(known) < 2:
        return None
    best = min(known, key=lambda head: (fits[head].loss, head))
    mean = sum(fits[head].loss for head in known) / len(known)
    return best if fits[best].loss < CLEARLY * mean else None


def who_dies(fits: Mapping[bytes, Fitness], voting: Sequence[bytes], capacity: int = MAX_HEADS) -> list[bytes]:
    """The least fit of the voting heads beyond capacity; one that was not measured is no less fit than the others."""
    ranked = sorted(voting, key=lambda head: (fits[head].loss if head in fits else 0.0, head))
    return ranked[max(1, capacity) :]


def birthplace(learners: Sequence[bytes], home: bytes, seed: bytes) -> bytes | None:
    """The node where the next child is born, of those that have the project's learners: a machine that took room for them before the
    one where the project was started; which of several, turns with `seed` (highest random weight, Thaler and Ravishankar 1998)."""
    others = [node for node in learners if node != home] or list(learners)
    return max(others, key=lambda node: hashlib.sha256(seed + node).digest(), default=None)


# ---- statements ----------------------------------------------------------------------------------------------------------


def sign_head(key: NodeKey, said: HeadStatement) -> HeadStatement:
    return msgspec.structs.replace(said, signature=key.sign(CONTEXT, _signed(said)))


def check_statement_of_head(said: HeadStatement) -> None:
    """Raises `BadSignature` unless its author said it, `Malformed` for a genome beyond bounds or a time that is none."""
    check_head(said.genome)
    if not math.isfinite(said.at):
        raise Malformed("a statement of no time")
    verify(said.author, said.signature, CONTEXT, _signed(said))


def head_rank(said: HeadStatement) -> tuple[int, float, bytes]:
    """The higher one stands."""
    return said.counter, said.at, said.author


def _signed(said: HeadStatement) -> bytes:
    return _encoder.encode(msgspec.structs.replace(said, signature=b""))
