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


FOLD_BATCH: Final = 32


class Stack:
    """One array of each of a sequence of genomes. Genomes never change in place, so the same objects have the same arrays."""

    def __init__(self, make: Callable[[Sequence[Genome]], NDArray[Any]]) -> None:
        """`make(genomes)`: their arrays, stacked."""
        self._make = make
        self._last: tuple[int, ...] = ()
        self._kept: OrderedDict[tuple[int, ...], tuple[tuple[Genome, ...], NDArray[Any]]] = OrderedDict()

    def again(self, genomes: Sequence[Genome]) -> NDArray[Any] | None:
        """The same for a large line-up that was asked for in the call before; None for others: what is needed once is not worth
        stacking."""
        if len(genomes) < MIN_KEPT:
            return None
        key = tuple(map(id, genomes))
        known, self._last = key in self._kept or key == self._last, key
        return self.of(genomes) if known else None

    def of(self, genomes: Sequence[Genome]) -> NDArray[Any]:
        """Shape (genomes, *array). Do not write to it."""
        if len(genomes) < MIN_KEPT:
            return self._make(genomes)
        key = tuple(map(id, genomes))
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found[1]
        stacked = self._make(genomes)
        self._kept[key] = tuple(genomes), stacked  # holding the genomes keeps their ids theirs
        if len(self._kept) > MAX_CALLS:
            self._kept.popitem(last=False)
        return stacked


def folded(signs: NDArray[Any], genomes: Sequence[Genome]) -> NDArray[Any]:
    """Weights times the signatures of choices, (agents, hidden, choices); a few agents at a time, for one large product is faster than
    many small ones and a copy of all weights would be as large as they are."""
    import numpy as np

    columns = np.ascontiguousarray(signs.T)
    parts = []
    for start in range(0, len(genomes), FOLD_BATCH):
        weights = np.concatenate([genome.tensors["w"] for genome in genomes[start : start + FOLD_BATCH]])
        parts.append((weights @ columns).reshape(-1, genomes[0].tensors["w"].shape[0], columns.shape[1]))
    return np.concatenate(parts)
