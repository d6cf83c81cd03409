"""Packings: what counts as one, and that moves and polish never leave the square."""

from __future__ import annotations

import array
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.tasks.packing.equal import CirclePacking
from node.tasks.packing.geometry import common_radius, holds_exactly
from node.tasks.packing.moves import MOVES
from node.tasks.packing.unequal import CirclePackingSum
from node.tasks.registry import make_task
from protocol.errors import InvalidRequest

FOUR = [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]


@pytest.mark.parametrize("bad", [[(math.nan, 0.5)], [(math.inf, 0.5)], [(-0.1, 0.5)], [(0.5, 1.5)], []])
def test_what_is_no_packing_has_radius_zero(bad: list[tuple[float, float]]) -> None:
    assert common_radius(bad) == 0.0


def test_the_radius_comes_from_the_centres_without_tolerance() -> None:
    assert common_radius(FOUR) == 0.25
    assert holds_exactly(FOUR, 0.25)
    assert not holds_exactly(FOUR, math.nextafter(0.25, 1.0))
    assert common_radius([*FOUR, (0.25, 0.25)]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_every_radius_reported_holds_in_rational_arithmetic(centres: list[tuple[float, float]]) -> None:
    assert holds_exactly(centres, common_radius(centres))


@pytest.mark.parametrize("body", [b"", b"x" * 15, array.array("d", [math.nan, 0.5, 0.1, 0.1]).tobytes(), b"\0" * 48])
def test_bytes_that_are_no_points_are_not_valid(body: bytes) -> None:
    assert not make_task("circle_packing", {"n": 2}).valid(body)


@pytest.mark.parametrize("n", [0, 201])
def test_a_count_out_of_range_is_refused(n: int) -> None:
    with pytest.raises(InvalidRequest, match="from 1 to 200"):
        make_task("circle_packing", {"n": n})


@pytest.mark.parametrize(("n", "radius"), [(1, 0.5), (2, 0.2928932188134524), (4, 0.25)])
def test_the_smallest_counts(n: int, radius: float) -> None:
    task, rng = make_task("circle_packing", {"n": n}), random.Random(1)
    best = task.start(rng)
    for _ in range(20):
        best = max(best, task.propose(best, {}, rng), key=task.evaluate)
    assert task.evaluate(best) == pytest.approx(radius, abs=1e-9)


@settings(max_examples=26, deadline=None)
@given(st.sampled_from(MOVES), st.integers(1, 12), st.integers(0, 1000))
def test_every_move_makes_a_valid_packing(move: str, n: int, seed: int) -> None:
    task, rng = make_task("circle_packing", {"n": n}), random.Random(seed)
    own, other = task.start(rng), task.start(rng)
    for heard in ({}, {3: other}):
        made = task.propose(own, heard, rng, move)
        assert task.valid(made)
        shown = json.loads(task.render(made))
        assert shown["radius"] == common_radius([tuple(centre) for centre in shown["centres"]])


def test_a_word_that_is_no_move_is_refused() -> None:
    task = make_task("circle_packing", {"n": 3})
    with pytest.raises(ValueError, match="no such move"):
        task.propose(task.start(random.Random(1)), {}, random.Random(1), "FLY 3")


def test_for_a_given_radius_more_circles_are_better_and_smaller_ones_do_not_count() -> None:
    task, rng = make_task("circle_packing", {"radius": 0.2}), random.Random(2)
    assert isinstance(task, CirclePacking)
    best = task.start(rng)
    assert int(task.evaluate(best)) == 4
    for _ in range(40):
        best = max(best, task.propose(best, {}, rng), key=task.evaluate)
    assert int(task.evaluate(best)) == 5


def test_raw_coordinates_are_read_repaired_and_scored() -> None:
    task = make_task("circle_packing", {"n": 4})
    read = task.parse("(0.1, 0.2), (0.9, 0.15) and [0.2, 0.8] or 0.5 0.5, 1.0 0.9")
    assert read is not None
    assert len(read) == 80
    assert task.evaluate(task.repair(read, random.Random(1))) > 0.2
    assert task.parse("no idea") is None


def test_radii_of_a_sum_may_differ_but_not_overlap() -> None:
    task, rng = make_task("circle_packing_sum", {"n": 5}), random.Random(1)
    assert isinstance(task, CirclePackingSum)
    best = task.start(rng)
    assert 1.0 < task.evaluate(best) < 1.3
    overlapping = array.array("d", [0.5, 0.5, 0.5] * 5).tobytes()
    assert task.evaluate(overlapping) == 0.0
