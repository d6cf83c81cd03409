"""The weights of many genomes in one array, kept between calls: stacking 400 MB anew would cost more than the product itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from node.brains.base import Genome

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CALLS: Final = 2
"""Line-ups whose stack is kept."""
MIN_KEPT: Final = 32
"""Smaller line-ups are stacked anew: they cost nothing and change with every lesson."""


class Stack:
    """One array of each of a sequence of genomes. Genomes never change in place, so the same objects have the same arrays."""

    def __init__(self, pick: Callable[[Genome], NDArray[Any]]) -> None:
        """`pick(genome)`: its array; of equal shape for all."""
        self._pick = pick
        self._kept: OrderedDict[tuple[int, ...], tuple[tuple[Genome, ...], NDArray[Any]]] = OrderedDict()

    def of(self, genomes: Sequence[Genome]) -> NDArray[Any]:
        """Shape (genomes, *array). Do not write to it."""
        import numpy as np

        if len(genomes) < MIN_KEPT:
            return np.stack([self._pick(genome) for genome in genomes])
        key = tuple(map(id, genomes))
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found[1]
        stacked = np.stack([self._pick(genome) for genome in genomes])
        self._kept[key] = tuple(genomes), stacked  # holding the genomes keeps their ids theirs
        if len(self._kept) > MAX_CALLS:
            self._kept.popitem(last=False)
        return stacked
