"""Placement without asking anybody: what moves, how much each node gets, and which of two homes stays."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import NodeId
from protocol.placement import MAX_HOSTS, moved, outranks, place, ranked

NODES = [NodeId(bytes([number]) * 20) for number in range(1, 9)]
RUN = b"r" * 20
ALIKE = dict.fromkeys(NODES, 1.0)


def test_placement_does_not_depend_on_the_order_of_nodes() -> None:
    assert place(RUN, 25, ALIKE) == place(RUN, 25, dict.fromkeys(NODES[::-1], 1.0))


def test_a_node_that_goes_moves_only_its_own_cells() -> None:
    before = place(RUN, 100, ALIKE)
    left = dict.fromkeys(NODES[1:], 1.0)
    moves = moved(RUN, before, left, ())
    assert set(moves) == {cell for cell, node in enumerate(before) if node == NODES[0]}
    assert place(RUN, 100, left) == [moves.get(cell, node) for cell, node in enumerate(before)]


def test_a_node_that_comes_takes_its_share_and_nothing_else_moves() -> None:
    before = place(RUN, 1024, dict.fromkeys(NODES[1:], 1.0))
    moves = moved(RUN, before, ALIKE, {NODES[0]})
    assert set(moves.values()) == {NODES[0]}
    assert 0.5 < len(moves) / (1024 / 8) < 1.5
    assert [moves.get(cell, node) for cell, node in enumerate(before)] == place(RUN, 1024, ALIKE)
    assert moved(RUN, before, ALIKE, ()) == {}


def test_cells_are_spread_by_capacity() -> None:
    counts = Counter(place(RUN, 4096, {NODES[0]: 6.0, NODES[1]: 2.0, NODES[2]: 1.0, NODES[3]: 0.0}))
    assert 0.85 < counts[NODES[0]] / (4096 * 6 / 9) < 1.15
    assert 0.85 < counts[NODES[2]] / (4096 / 9) < 1.15
    assert counts[NODES[3]] == 0


def test_a_run_uses_a_bounded_number_of_nodes() -> None:
    many = {NodeId(number.to_bytes(20, "big")): 1.0 for number in range(500)}
    assert len(set(place(RUN, 1024, many))) <= MAX_HOSTS


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(NODES)), min_size=2, max_size=6, unique=True))
def test_of_any_claims_exactly_one_stays(claims: list[tuple[int, NodeId]]) -> None:
    best = [claim for claim in claims if not any(outranks(RUN, other, claim) for other in claims)]
    assert len(best) == 1
    term, home = best[0]
    assert term == max(one for one, _ in claims)
    assert home == ranked(RUN, b"home", [node for one, node in claims if one == term])[0]
    assert not outranks(RUN, best[0], best[0])
