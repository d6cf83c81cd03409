"""Neighbourhoods, placement and the scripted task: pure rules."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cells.grid import MAX_NEIGHBOURS, TOPOLOGIES, neighbours, overlay_graph
from node.cells.job import PARAMS
from node.cells.progress import Progress
from node.tasks.colouring import COLOURS, Colouring
from node.tasks.registry import checked_values, make_task, shipped_tasks
from node.tasks.workshop import Inline
from protocol.errors import InvalidRequest
from protocol.identity import NodeId
from protocol.messages import CellReport, CellStart
from protocol.placement import place

NODES = [NodeId(bytes([number]) * 20) for number in range(1, 9)]
RUN = b"r" * 20
COLOURING = Colouring({})


def test_corner_edge_and_middle_of_a_three_by_three_grid() -> None:
    assert neighbours(3, 0) == (1, 3)
    assert neighbours(3, 1) == (0, 2, 4)
    assert neighbours(3, 4) == (1, 3, 5, 7)
    assert neighbours(1, 0) == ()


@given(st.integers(1, 9), st.sampled_from(TOPOLOGIES), st.integers(0, 100))
def test_hearing_is_mutual_and_nobody_hears_itself(size: int, topology: str, seed: int) -> None:
    for cell in range(size * size):
        around = neighbours(size, cell, topology, seed)
        assert len(around) <= MAX_NEIGHBOURS
        for neighbour in around:
            assert neighbour != cell
            assert cell in neighbours(size, neighbour, topology, seed)


def test_topologies_by_their_shape() -> None:
    assert neighbours(3, 4, "moore") == (0, 1, 2, 3, 5, 6, 7, 8)
    assert neighbours(3, 0, "torus") == (1, 2, 3, 6)
    assert neighbours(3, 0, "ring") == (1, 8)
    assert neighbours(5, 12, "nearest") == (2, 6, 7, 8, 10, 11, 13, 14, 16, 17, 18, 22)
    assert neighbours(3, 4, "isolated") == ()
    assert len(neighbours(5, 3, "global")) == 24


def test_in_the_overlay_cells_hear_their_node_and_its_neighbours() -> None:
    placement = place(RUN, 25, dict.fromkeys(NODES[:4], 1.0))
    graph = overlay_graph(placement, [(NODES[0], NODES[1]), (NODES[1], NODES[0]), (NODES[2], NODES[7]), (NODES[3], NODES[3])])
    linked = {frozenset((placement[cell], placement[other])) for cell, around in graph.items() for other in around}
    assert linked == {frozenset((NODES[0], NODES[1])), *(frozenset((node,)) for node in set(placement))}
    for cell, around in graph.items():
        assert cell not in around
        assert len(around) <= 3
        assert all(cell in graph[other] for other in around)
    crossing = [cell for cell in graph if any(placement[other] != placement[cell] for other in graph[cell])]
    assert len(crossing) == 2 * min(Counter(placement)[NODES[0]], Counter(placement)[NODES[1]])
    assert overlay_graph([NODES[0]], []) == {0: ()}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"size": 0}, "'size'"),
        ({"size": 33}, "'size'"),
        ({"size": 10_000}, "'size'"),
        ({"size": 2.5}, "whole number"),
        ({"seconds": float("nan")}, "'seconds'"),
        ({"turns": 0}, "'turns'"),
        ({"iterations": 10_001}, "'iterations'"),
        ({"speed": 1}, "it has brain"),
        ({"topology": "star"}, "neumann, moore"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, float | str], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        checked_values(params, PARAMS, "colouring")


def test_missing_parameters_take_their_defaults() -> None:
    values = checked_values({"iterations": 5}, PARAMS, "colouring")
    assert (values["size"], values["iterations"], values["topology"]) == (3, 5, "neumann")


# ---- colouring ----------------------------------------------------------------------------------------------------------


def test_a_cell_takes_the_colour_least_used_around_it() -> None:
    task = COLOURING
    heard = {1: b"\x00", 2: b"\x00", 3: b"\x01", 4: b"\x02"}
    assert task.propose(b"\x00", heard, random.Random(1)) == b"\x03"
    assert task.propose(b"\x03", heard, random.Random(1)) == b"\x03"


def test_who_was_not_heard_does_not_count_as_differing() -> None:
    task = COLOURING
    assert task.score(b"\x00", {1: b"\x01", 2: b"\x00"}, 4) == 0.25
    assert task.score(b"\x00", {}, 4) == 0.0
    assert task.score(b"\x00", {}, 0) == 1.0


@pytest.mark.parametrize("body", [b"", b"\x04", b"\xff", b"\x00\x00"])
def test_bytes_that_are_no_colour_are_not_valid(body: bytes) -> None:
    assert not COLOURING.valid(body)


def test_what_tasks_start_with_is_valid_and_shown() -> None:
    for name in shipped_tasks():
        task = make_task(name, {})
        assert task.valid(task.start(random.Random(1)))
    assert COLOURING.render(b"\x00") == COLOURS[0]


# ---- reports ------------------------------------------------------------------------------------------------------------


def progress() -> Progress:
    return Progress(CellStart(RUN, "colouring", 1, 2, 3, [NODES[0], NODES[0], NODES[1], NODES[1]]), Inline(COLOURING))


@pytest.mark.parametrize(
    ("sender", "changed"),
    [
        (NODES[1], {}),
        (NODES[0], {"cell": 4}),
        (NODES[0], {"iteration": 0}),
        (NODES[0], {"iteration": 4}),
        (NODES[0], {"score": float("nan")}),
        (NODES[0], {"score": 1.5}),
        (NODES[0], {"solution": b"\x09"}),
    ],
)
def test_reports_that_are_not_the_hosts_or_not_sound_are_ignored(sender: NodeId, changed: dict[str, object]) -> None:
    fields: dict[str, object] = {"iteration": 1, "cell": 0, "score": 1.0, "solution": b"\x01", "heard": [1], **changed}
    board = progress()
    board.take(sender, CellReport(RUN, **fields))  # type: ignore[arg-type]
    assert board.infos() == []


def test_a_report_counts_once_and_only_neighbours_are_shown_as_heard() -> None:
    board = progress()
    board.take(NODES[0], CellReport(RUN, 1, 0, 0.5, b"\x01", [1, 2, 3, 77]))
    board.take(NODES[0], CellReport(RUN, 1, 0, 1.0, b"\x02", []))
    (info,) = board.infos()
    assert (info.mean, info.cells[0].solution, info.cells[0].heard) == (0.5, "green", [1, 2])


def test_a_long_run_of_a_large_grid_keeps_details_of_the_newest_iterations_only() -> None:
    board = Progress(CellStart(RUN, "colouring", 1, 32, 6, [NODES[0]] * 1024), Inline(COLOURING))
    for iteration in range(1, 7):
        for cell in range(1024):
            board.take(NODES[0], CellReport(RUN, iteration, cell, 0.5, b"\x01", []))
    infos = board.infos()
    assert [len(info.cells) for info in infos] == [0, 0, 1024, 1024, 1024, 1024]
    assert all(info.mean == 0.5 for info in infos)
    assert board.silent() == ""
