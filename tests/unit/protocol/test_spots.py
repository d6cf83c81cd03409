"""Keys of vectors: what rounding must not lose, and what must never meet."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from protocol.pins import MINILM, WORDS
from protocol.spots import LAYOUTS, USUAL, Spot, _planes, likeness

DIM = 384
NOISE = 1e-3
"""Relative to the vector's length: how far two machines' MiniLM vectors of one text may differ."""
SPACES = [WORDS, MINILM]


def vector_of(seed: int, dim: int = DIM) -> NDArray[np.float32]:
    rng = random.Random(seed)
    made = np.array([rng.gauss(0, 1) for _ in range(dim)], np.float32)
    return np.asarray(made / np.linalg.norm(made), np.float32)


@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 2**32))
def test_rounding_between_machines_loses_no_memory(space: str, seed: int) -> None:
    there = vector_of(seed)
    here = there + NOISE * vector_of(seed + 1)
    written, read = Spot(space, there), Spot(space, here)
    missed = set(written.written()) - set(read.read())
    assert len(missed) <= 1, "a key is missed only where two bits of one table are within rounding of zero"
    assert likeness(written.sketch, read.sketch) > 0.99


@pytest.mark.parametrize("space", SPACES)
def test_a_vector_on_a_plane_is_found_from_either_side(space: str) -> None:
    """The worst case: one bit of every table is exactly as likely to fall either way."""
    layout = LAYOUTS.get(space, USUAL)
    first = _planes(layout.tables * layout.bits, DIM)[:: layout.bits].astype(np.float64)  # of each table
    inverse = np.linalg.pinv(first)
    vector = vector_of(7) - inverse @ (first @ vector_of(7))
    nudge = inverse @ np.full(layout.tables, 1e-3)
    above, below = (Spot(space, np.asarray(vector + side * nudge, np.float32)) for side in (1, -1))
    assert set(above.written()).isdisjoint(below.written())
    assert set(above.written()) <= set(below.read())
    assert set(below.written()) <= set(above.read())


@pytest.mark.parametrize("space", [*SPACES, "vector 384"])
def test_a_query_costs_at_most_twelve_look_ups(space: str) -> None:
    spot = Spot(space, vector_of(3))
    assert len(spot.read()) == len(set(spot.read())) == spot.layout.lookups <= 12
    assert set(spot.written()) <= set(spot.read())


def test_keys_of_different_embedders_never_meet() -> None:
    spots = [Spot(space, vector_of(5)) for space in (*SPACES, "vector 384")]
    keys = [key for spot in spots for key in spot.read()]
    assert len(set(keys)) == len(keys)


def test_words_keys_are_where_they_were() -> None:
    """Memories outlive an update of moot."""
    assert Spot(WORDS, vector_of(1)).written()[0].hex() == "bebc6264b71a85060ed3766c6d520921dca44098"
