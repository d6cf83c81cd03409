"""What the agents of a brain were told lately: lessons to learn again beside each new one, so that the new does not wipe out the old.

A lesson says of one answer to one question how right it was. It may be all that is known ("that was wrong"), or the right answer
itself with a score of 1. The memory is a node's, not a genome's: it is bounded and does not travel. A `Note` is a lesson as the node's
book keeps it, so that a restart loses none.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from node.brains.base import MAX_NOTES
from protocol.errors import Malformed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LESSONS: Final = MAX_NOTES
"""Lessons kept in all (32 MB of features); those of the set of choices that was not used for longest go first."""


@dataclass(slots=True)
class Remembered:
    """One lesson: the question's features (bank,), the index of the answer that was rated, how right it was (0 to 1), who says so."""

    features: NDArray[np.float32]
    answer: int
    score: float
    rater: bytes
    mark: int = 0
    """A number drawn from the lesson (64 bits), by which agents take it to heart differently."""


class Note(Struct, frozen=True, array_like=True):
    """One lesson on disk. Append fields with a default; never reorder them."""

    space: Annotated[str, Meta(max_length=64)]
    """Which embedder read the text; empty where the question was an embedding."""
    vector: Annotated[bytes, Meta(min_length=4, max_length=65_536)]
    """What was seen of the question: float32, little-endian."""
    choices: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1_024)]
    answer: Annotated[int, Meta(ge=0)]
    score: Annotated[float, Meta(ge=0.0, le=1.0)]
    rater: Annotated[bytes, Meta(max_length=64)]


_note = msgspec.msgpack.Decoder(Note)


def read_note(data: bytes) -> Note:
    """Raises `Malformed`."""
    try:
        note = _note.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"a note of a lesson does not decode: {error}") from error
    if note.answer >= len(note.choices) or len(note.vector) % 4:
        raise Malformed("a note of a lesson names no choice, or its vector is cut off")
    return note


def drained(notes: deque[bytes]) -> list[bytes]:
    """All of them, taken one by one: another thread may append meanwhile."""
    taken = []
    while notes:
        taken.append(notes.popleft())
    return taken


def mark_of(vector: bytes, answer: int, rater: bytes) -> int:
    """Equal on every machine and after a restart."""
    return int.from_bytes(hashlib.blake2b(vector + answer.to_bytes(4, "big") + rater, digest_size=8).digest(), "big")


class Replay:
    """Lessons by (input dimension, choices); the oldest of a set go first."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[int, tuple[str, ...]], deque[Remembered]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, dim: int, choices: tuple[str, ...], lesson: Remembered) -> list[Remembered]:
        """Keep the lesson; returns all of its set, oldest first."""
        kept = self._sets.setdefault((dim, choices), deque())
        self._sets.move_to_end((dim, choices))
        kept.append(lesson)
        self._count += 1
        while self._count > MAX_LESSONS:
            key, oldest = next(iter(self._sets.items()))
            oldest.popleft()
            self._count -= 1
            if not oldest:
                del self._sets[key]
        return list(kept)
