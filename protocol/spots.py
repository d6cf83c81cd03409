"""Where in the DHT a vector lies: locality-sensitive keys.

A vector is cut by random hyperplanes (Charikar 2002) into a few codes of a few bits, one a table; each code is a DHT key. A writer writes
under each table's code. A reader also probes the keys on the other side of the planes its query lies nearest to (multi-probe; Lv and
others 2007), because a bit near zero may fall either way on another machine, and because that is where likely neighbours are. Planes
come from SHAKE-256, so all nodes have the same. `Layout.lookups` look-ups a query, always.

Needs numpy where a vector is cut; importing this module does not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Final

from protocol.pins import MINILM
from protocol.records import key_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Layout:
    """How the keys of one space are cut. Changing a space's layout loses its memories: give the space a new name then."""

    tables: int
    bits: int
    probes: int
    """Keys read in each table; one is written."""
    sketch_bits: int
    """Signs kept with a memory: their Hamming distance estimates its cosine to a query, which then need not embed it again."""
    near: float
    """Least estimated cosine of what people who search are shown."""
    quoted: float
    """And of what agents are."""

    @property
    def lookups(self) -> int:
        return self.tables * self.probes


USUAL: Final = Layout(4, 8, 3, 256, 0.5, 0.5)
LAYOUTS: Final = {MINILM: Layout(6, 6, 2, 1_024, 0.4, 0.5)}
"""A question in other words lies farther away in MiniLM's space (cosine about .7) than shuffled words do among hashed ones (.9): shorter
codes and more of them, and finer sketches, because what it is mistaken for lies nearer too. The price: keys hold about four times as many
memories, each 96 bytes longer. Of 40 questions in other words all were .4 near their own, 36 of them .5; among 5,000 rows on other
matters 23 had a neighbour at .4, and 8 at .5: agents are not given those."""
MAX_SKETCH: Final = max(layout.sketch_bits for layout in (USUAL, *LAYOUTS.values())) // 8


class Spot:
    """Where a vector lies: its margins to all planes."""

    def __init__(self, space: str, vector: NDArray[np.float32]) -> None:
        """`space` names the embedder (or the dimension): keys of different spaces never meet."""
        self._space = space
        self.layout = LAYOUTS.get(space, USUAL)
        cuts = self.layout.tables * self.layout.bits
        margins = _planes(cuts + self.layout.sketch_bits, len(vector)) @ vector
        self._margins = [float(x) for x in margins[:cuts]]
        self.sketch = _pack(margins[cuts:])

    def written(self) -> list[bytes]:
        """The keys that a memory lies under: the code of each table."""
        return self._keys(1)

    def read(self) -> list[bytes]:
        """The keys that a query looks up: of each table the code and the codes across the nearest planes."""
        return self._keys(self.layout.probes)

    def _keys(self, probes: int) -> list[bytes]:
        keys, bits = [], self.layout.bits
        for table in range(self.layout.tables):
            own = self._margins[table * bits : (table + 1) * bits]
            code = sum(1 << bit for bit, margin in enumerate(own) if margin > 0)
            for flips in _nearest(own, probes):
                keys.append(key_of(f"moot memory 1 {self._space} {table} {code ^ flips}"))
        return keys


def likeness(one: bytes, other: bytes) -> float:
    """Cosine estimated from two sketches; -1 for sketches of different length."""
    if len(one) != len(other) or not one:
        return -1.0
    apart = (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
    return math.cos(math.pi * apart / (8 * len(one)))


@lru_cache(maxsize=8)
def _planes(rows: int, dim: int) -> NDArray[np.float32]:
    """Shape (rows, dim), each entry -1 or 1."""
    import numpy as np

    stream = hashlib.shake_256(b"moot memory planes 1").digest((rows * dim + 7) // 8)
    signs = np.unpackbits(np.frombuffer(stream, np.uint8))[: rows * dim]
    return signs.reshape(rows, dim).astype(np.float32) * 2 - 1


def _nearest(margins: Sequence[float], probes: int) -> list[int]:
    """Bit masks to flip, cheapest crossing first; the first is none."""
    costs = [(0.0, 0)]
    for size in (1, 2):
        for bits in combinations(range(len(margins)), size):
            costs.append((math.fsum(margins[bit] ** 2 for bit in bits), sum(1 << bit for bit in bits)))
    return [mask for _, mask in sorted(costs)[:probes]]


def _pack(margins: NDArray[np.float32]) -> bytes:
    import numpy as np

    return bytes(np.packbits(margins > 0))
