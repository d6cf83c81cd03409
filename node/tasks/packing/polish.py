"""From a rough arrangement to a local optimum: soft discs that push each other apart, then sequential quadratic programming.

Neither is told a radius: the discs take the size that a density of `DENSITY` would give them, a property of packings of this kind
and not of any one count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.tasks.packing.geometry import Points

DENSITY = 0.83
"""Share of the square that good packings of some tens of circles cover."""
SCALE = 40.0
"""L-BFGS takes a first step of length 1 whatever the energy: in units of the square that is far too long."""
COLLAPSED = 0.2
"""Below this share of the typical distance two points are as good as one, and the constraints have no slope to part them."""
MANY = 36
"""Above this count sequential linear programming is the faster way, below it SLSQP."""
REACH = 1.6
"""Pairs within this many smallest distances may come to touch during one polish; farther ones are left out of its constraints."""


def typical_distance(count: int) -> float:
    """The smallest distance m of `count` points that `DENSITY` would mean: count pi r^2 = DENSITY, m = 2r / (1 - 2r)."""
    diameter = min(0.8, 2.0 * math.sqrt(DENSITY / (math.pi * count)))
    return diameter / (1.0 - diameter)


def relax(points: Points, inflation: float = 1.08, steps: int = 80) -> Points:
    """Minimise the overlap of soft discs, sum max(0, 1 - |p - q| / d)^2, by L-BFGS in the unit square.

    Not of squared distances: their slope vanishes where two points meet, and pairs stay in one corner for good.
    """
    import numpy as np
    from scipy.optimize import minimize

    count = len(points)
    order = np.arange(count)
    points = np.clip(points + 1e-3 * np.column_stack([np.sin(order), np.cos(order)]), 0.0, 1.0)  # points that coincide never part
    first, second = np.triu_indices(count, 1)
    wanted = inflation * typical_distance(count)

    def energy(flat: Points) -> tuple[float, Points]:
        arranged = flat.reshape(count, 2) / SCALE
        apart = arranged[first] - arranged[second]
        distance = np.sqrt((apart * apart).sum(1)) + 1e-12
        overlap = np.maximum(0.0, 1.0 - distance / wanted)
        push = (-2.0 / wanted * overlap / distance)[:, None] * apart
        gradient = np.empty_like(arranged)
        for axis in (0, 1):
            gradient[:, axis] = np.bincount(first, push[:, axis], count) - np.bincount(second, push[:, axis], count)
        return float(overlap @ overlap), gradient.ravel() / SCALE

    result = minimize(
        energy, SCALE * points.ravel(), jac=True, method="L-BFGS-B", bounds=[(0.0, SCALE)] * (2 * count), options={"maxiter": steps}
    )
    relaxed: Points = np.clip(result.x.reshape(count, 2) / SCALE, 0.0, 1.0)
    return relaxed


def polish(points: Points, iterations: int = 100, precision: float = 1e-15) -> Points:
    """Maximise the smallest distance, of many points as in `ascent`, else by SLSQP.

    Variables are the points and m, constraints |p - q|^2 >= m^2 of near pairs. Twice, because pairs left out the first time may have come
    near; the better of what came in and went out is returned.
    """
    from node.tasks.packing.ascent import widened
    from node.tasks.packing.geometry import smallest_distance

    best, distance = points, smallest_distance(points)
    if len(points) < 2:
        return best
    if len(points) > MANY:
        return widened(points)
    arranged = relax(points) if distance < COLLAPSED * typical_distance(len(points)) else points
    for _ in range(2):
        arranged = _ascend(arranged, iterations, precision)
        found = smallest_distance(arranged)
        gained = found - distance
        if gained > 0.0:
            best, distance = arranged, found
        if gained < 1e-12:
            break
    return best


def _ascend(points: Points, iterations: int, precision: float) -> Points:
    import numpy as np
    from scipy.optimize import minimize

    count = len(points)
    first, second = np.triu_indices(count, 1)
    squares = ((points[first] - points[second]) ** 2).sum(1)
    start = math.sqrt(float(squares.min()))
    near = np.flatnonzero(squares < (REACH * max(start, typical_distance(count))) ** 2)
    first, second = first[near], second[near]
    rows = np.arange(len(near))
    uphill = np.zeros(2 * count + 1)
    uphill[-1] = -1.0
    slopes = np.zeros((len(near), 2 * count + 1))

    def room(flat: Points) -> Points:
        arranged = flat[:-1].reshape(count, 2)
        apart = arranged[first] - arranged[second]
        value: Points = (apart * apart).sum(1) - flat[-1] ** 2
        return value

    def slope(flat: Points) -> Points:
        arranged = flat[:-1].reshape(count, 2)
        apart = 2.0 * (arranged[first] - arranged[second])
        for axis in (0, 1):
            slopes[rows, 2 * first + axis] = apart[:, axis]
            slopes[rows, 2 * second + axis] = -apart[:, axis]
        slopes[:, -1] = -2.0 * flat[-1]
        return slopes

    result = minimize(
        lambda flat: -flat[-1],
        np.append(points.ravel(), start),
        jac=lambda flat: uphill,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * (2 * count) + [(0.0, 2.0)],
        constraints=[{"type": "ineq", "fun": room, "jac": slope}],
        options={"maxiter": iterations, "ftol": precision},
    )
    ascended: Points = np.clip(np.nan_to_num(result.x[:-1], nan=0.5).reshape(count, 2), 0.0, 1.0)
    return ascended
