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
ONE_THREAD: Final = 400_000
"""Multiplications that BLAS does on one thread. Larger products are shared between threads and on a busy machine wait for the slowest:
240 to 950 ms for a thousand agents at a load of 6, against 90 to 110 in pieces, and 40 where the machine is idle. A daemon has one thread
anyway (`node.daemon.BLAS_THREADS`), a benchmark has not."""


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
    """Weights times the signatures of choices, (agents, choices, hidden). Agent by agent with the signatures on the left: weights are read
    once where they lie, and the product is wide rather than tall, which takes half the time."""
    import numpy as np

    hidden, width = genomes[0].tensors["w"].shape
    out = np.empty((len(genomes), len(signs), hidden), np.float32)
    rows = max(1, ONE_THREAD // (width * len(signs)))
    for genome, own in zip(genomes, out, strict=True):
        for start in range(0, hidden, rows):
            np.matmul(signs, genome.tensors["w"][start : start + rows].T, out=own[:, start : start + rows])
    return out
