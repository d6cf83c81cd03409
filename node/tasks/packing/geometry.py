"""Equal circles in the unit square: what a radius is, and the proof that it holds.

Inside the search a packing is n *points* in the unit square with smallest distance m; pulling them in by r = m / (2 (1 + m)) gives
centres of circles of radius r (the classical equivalence, e.g. Specht's Packomania). What is reported are centres, and their radius is
always computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    """Shape (n, 2)."""

Centre = tuple[float, float]
CLEAR = 1e-9


def smallest_distance(points: Points) -> float:
    """Of any two points; infinity for fewer than two."""
    import numpy as np

    count = len(points)
    if count < 2:
        return math.inf
    first, second = np.triu_indices(count, 1)
    return math.sqrt(float(((points[first] - points[second]) ** 2).sum(1).min()))


def radius_of_points(points: Points) -> float:
    """The radius that points with this smallest distance give once pulled in."""
    distance = smallest_distance(points)
    return 0.5 if math.isinf(distance) else distance / (2.0 * (1.0 + distance))


def centres_of(points: Points) -> list[Centre]:
    """Points pulled in by their radius: centres in double precision. One point becomes the middle."""
    if len(points) == 1:
        return [(0.5, 0.5)]
    radius = radius_of_points(points)
    return [(float(x), float(y)) for x, y in radius + points * (1.0 - 2.0 * radius)]


def common_radius(centres: Sequence[Centre]) -> float:
    """The largest radius that all circles around these centres can have inside the unit square; 0 where they are no packing.

    Finite values only and no tolerance: the float found first is lowered, an ulp at a time, until `holds_exactly` agrees.
    """
    if not centres or not all(math.isfinite(value) and 0.0 <= value <= 1.0 for centre in centres for value in centre):
        return 0.0
    radius = min(min(x, y, 1.0 - x, 1.0 - y) for x, y in centres)
    for index, (x, y) in enumerate(centres):
        for other_x, other_y in centres[:index]:
            radius = min(radius, math.hypot(x - other_x, y - other_y) / 2.0)
    while radius > 0.0 and not holds_exactly(centres, radius):
        radius = math.nextafter(radius, 0.0)
    return radius


def holds_exactly(centres: Sequence[Centre], radius: float | Sequence[float]) -> bool:
    """Whether no circle leaves the square and no two overlap, in rational arithmetic on the very doubles given.

    Pairs that are apart by more than `CLEAR` in doubles are not looked at twice: for numbers in [0, 1] doubles err by less than 1e-14 here.
    """
    radii = [radius] * len(centres) if isinstance(radius, float) else list(radius)
    if not all(0.0 <= number <= 1.0 for number in (*radii, *(value for centre in centres for value in centre))):
        return False
    exact = [(Fraction(x), Fraction(y), Fraction(one)) for (x, y), one in zip(centres, radii, strict=True)]
    for index, (x, y, one) in enumerate(exact):
        if not (one <= x <= 1 - one and one <= y <= 1 - one):
            return False
        for other, (other_x, other_y) in enumerate(centres[:index]):
            apart = (centres[index][0] - other_x) ** 2 + (centres[index][1] - other_y) ** 2
            if apart - (radii[index] + radii[other]) ** 2 > CLEAR:
                continue
            far_x, far_y, far = exact[other]
            if (x - far_x) ** 2 + (y - far_y) ** 2 < (one + far) ** 2:
                return False
    return True


def contacts(centres: Sequence[Centre], radius: float, slack: float = 1e-9) -> list[tuple[int, int]]:
    """Pairs of circles that touch, for pictures."""
    return [
        (other, index)
        for index, (x, y) in enumerate(centres)
        for other, (other_x, other_y) in enumerate(centres[:index])
        if math.hypot(x - other_x, y - other_y) < 2.0 * radius + slack
    ]
