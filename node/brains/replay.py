"""What the agents of a brain were told lately: lessons to learn again beside each new one, so that the new does not wipe out the old.

A lesson says of one answer to one question how right it was. It may be all that is known ("that was wrong"), or the right answer
itself with a score of 1. The memory is a node's, not a genome's: it is bounded, it does not travel, and a restart empties it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LESSONS: Final = 2_048
"""Lessons kept in all (32 MB of features); those of the set of choices that was not used for longest go first."""


@dataclass(slots=True)
class Remembered:
    """One lesson: the question's features (bank,), the index of the answer that was rated, how right it was (0 to 1), who says so."""

    features: NDArray[np.float32]
    answer: int
    score: float
    rater: bytes


class Replay:
    """Lessons by (input dimension, choices); the oldest of a set go first."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[int, tuple[str, ...]], deque[Remembered]] = OrderedDict()
        self._count = 0

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
