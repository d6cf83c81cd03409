"""The first questions: a row from every corner of the pile."""

from __future__ import annotations

import numpy as np
import pytest

from node.label.teacher import COVERAGE, FIRST, cover, covered
from node.label.views import Matrix

WIDTH = 32


def clouds(sizes: list[int], seed: int) -> tuple[Matrix, np.ndarray]:
    """Rows of length 1 in clouds of these sizes, and the cloud of each."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    rows = rng.standard_normal((len(sizes), WIDTH))[which] + 0.45 * rng.standard_normal((len(which), WIDTH))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32), which


@pytest.mark.parametrize("seed", range(8))
def test_every_label_is_met_though_some_are_twenty_times_rarer(seed: int) -> None:
    rows, which = clouds([200, 200, 160, 120, 100, 80, 60, 60, 40, 40, 20, 20, 15, 10, 10], seed)
    asked = cover(rows, COVERAGE, seed)
    assert set(which[asked]) == set(range(15))
    assert COVERAGE - 4 <= len(asked) == len(set(asked)) <= COVERAGE  # one row may be the middle of two groups
    assert which[asked[0]] < 8  # the largest group first: of one of the eight largest clouds


def test_another_seed_asks_about_other_rows_and_the_same_about_the_same() -> None:
    rows, _ = clouds([300] * 12, 1)
    assert cover(rows, COVERAGE, 5) == cover(rows, COVERAGE, 5) != cover(rows, COVERAGE, 6)


@pytest.mark.parametrize(("rows", "count"), [(1, 24), (2, 24), (24, 24), (25, 24), (30, 500), (900, 500)])
def test_piles_that_are_hardly_larger_than_their_coverage(rows: int, count: int) -> None:
    pile, _ = clouds([rows], 0)
    asked = cover(pile, count, 0)
    assert 0 < len(asked) == len(set(asked)) <= min(rows, count)
    assert len(asked) >= 0.9 * min(rows, count)


def test_a_pile_of_one_text_has_one_first_question() -> None:
    assert len(cover(np.ones((50, WIDTH), np.float32) / np.float32(WIDTH**0.5), COVERAGE, 0)) == 1


def test_coverage_ends_early_only_where_every_label_was_named_and_met() -> None:
    told = ["a", "b"] * (FIRST // 2)
    assert covered({"a", "b"}, told)
    assert not covered({"a", "b"}, told[1:])
    assert not covered({"a", "b", "c"}, told)
    assert not covered(set(), told)  # nobody named any: who knows how many there are
