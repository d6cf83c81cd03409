"""The weights of many genomes in one array, kept between calls: stacking 400 MB anew would cost more than the product itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from node.brains.base import Genome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MAX_CALLS: Final = 2
"""Line-ups whose stack is kept."""
MIN_KEPT: Final = 32
"""Smaller line-ups are stacked anew: they cost nothing and change with every lesson."""


class Stack:
    """One named tensor of a sequence of genomes. Genomes never change in place, so the same objects have the same weights."""

    def __init__(self, tensor: str) -> None:
        self._tensor = tensor
        self._kept: OrderedDict[tuple[int, ...], tuple[tuple[Genome, ...], Floats]] = OrderedDict()

    def of(self, genomes: Sequence[Genome]) -> Floats:
        """Shape (genomes, *tensor). Do not write to it."""
        import numpy as np

        if len(genomes) < MIN_KEPT:
            return np.stack([genome.tensors[self._tensor] for genome in genomes])
        key = tuple(map(id, genomes))
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found[1]
        stacked = np.stack([genome.tensors[self._tensor] for genome in genomes])
        self._kept[key] = tuple(genomes), stacked  # holding the genomes keeps their ids theirs
        if len(self._kept) > MAX_CALLS:
            self._kept.popitem(last=False)
        return stacked
