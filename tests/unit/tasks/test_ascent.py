"""Local optima by sequential linear programming: never worse than the start, and feasible."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from node.tasks.packing.ascent import best_radii, swollen, widened
from node.tasks.packing.geometry import holds_exactly, smallest_distance
from node.tasks.packing.moves import scatter
from node.tasks.registry import make_task


@pytest.mark.parametrize("seed", range(4))
def test_widening_never_loses_and_ends_where_widening_again_gains_nothing(seed: int) -> None:
    points = scatter(12, random.Random(seed))
    wide = widened(points)
    assert smallest_distance(wide) > smallest_distance(points)
    assert smallest_distance(widened(wide)) == pytest.approx(smallest_distance(wide), abs=1e-9)
    assert np.all((wide >= 0.0) & (wide <= 1.0))


def test_radii_for_fixed_centres_fill_what_there_is() -> None:
    assert best_radii(np.array([[0.5, 0.5]])) == pytest.approx([0.5])
    assert best_radii(np.array([[0.25, 0.5], [0.75, 0.5]])).sum() == pytest.approx(0.5)
    assert best_radii(np.array([[0.3, 0.3], [0.3, 0.3]])).sum() == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(("n", "known"), [(1, 0.5), (2, 2.0 - math.sqrt(2.0)), (4, 1.006788474665)])
def test_small_sums_are_found(n: int, known: float) -> None:
    rng = random.Random(1)
    assert max(float(swollen(scatter(n, rng))[1].sum()) for _ in range(12)) == pytest.approx(known, abs=1e-9)


def test_what_is_handed_on_overlaps_by_nothing_at_all() -> None:
    task, rng = make_task("circle_packing_sum", {"n": 20}), random.Random(3)
    circles = np.frombuffer(task.start(rng), "<f8").reshape(-1, 3).tolist()
    assert holds_exactly([(x, y) for x, y, _ in circles], [radius for _, _, radius in circles])
    assert task.evaluate(task.start(rng)) > 2.0


def test_the_exact_check_sees_what_doubles_do_not() -> None:
    touching = [(0.25, 0.5), (0.75, 0.5)]
    assert holds_exactly(touching, [0.25, 0.25])
    assert not holds_exactly(touching, [0.25, math.nextafter(0.25, 1.0)])
    assert not holds_exactly([(0.25, 0.5), (0.75 - 1e-16, 0.5)], [0.25, 0.25])
    assert not holds_exactly(touching, [0.25, math.nan])
