"""Whether cells listen: the measure finds what is there, and nothing where nothing is."""

from __future__ import annotations

import random

import pytest

from node.cells.traces import NOTE, Trace, information, trace_of, with_trace

MESSAGES = ("ahead", "level", "behind")
MOVES = ("HOLE 1", "ROWS", "COPY", "CROSS")


def run(rng: random.Random, listens: float) -> list[tuple[int, Trace]]:
    """Twenty iterations of twelve cells; with probability `listens` a move is the one that the message asks for."""
    found = []
    for iteration in range(20):
        for _ in range(12):
            said = rng.randrange(3)
            moves = [MOVES[said] if rng.random() < listens else rng.choice(MOVES) for _ in range(3)]
            found.append((iteration, Trace(heard=MESSAGES[said], moves=moves)))
    return found


def test_cells_that_do_not_listen_share_no_information_with_their_neighbours() -> None:
    known = information(run(random.Random(1), 0.0), random.Random(2))
    assert known is not None
    assert known.bits > 0.0  # counting alone finds some, always
    assert abs(known.corrected) < 0.01
    assert known.chance > 0.05


@pytest.mark.parametrize(("listens", "least"), [(0.2, 0.01), (1.0, 1.3)])
def test_cells_that_listen_are_found_out(listens: float, least: float) -> None:
    known = information(run(random.Random(1), listens), random.Random(2))
    assert known is not None
    assert known.corrected > least
    assert known.bits > known.null_95
    assert known.chance < 0.01


def test_what_only_changes_with_time_is_not_listening() -> None:
    found = [(iteration, Trace(heard=MESSAGES[iteration % 3], moves=[MOVES[iteration % 3]])) for iteration in range(9) for _ in range(9)]
    known = information(found, random.Random(1))
    assert known is not None
    assert known.bits > 1.5
    assert known.corrected == pytest.approx(0.0)
    assert known.chance == 1.0


def test_one_cell_says_nothing_about_listening() -> None:
    assert information([(1, Trace(heard="ahead", moves=["ROWS"]))], random.Random(1)) is None


def test_a_trace_survives_a_prompt_that_is_too_long_and_a_forged_one_is_ignored() -> None:
    trace = Trace(heard="ahead", moves=["ROWS"] * 64, worked_s=0.25, tokens=80)
    note = with_trace("x" * 5_000, trace)
    assert len(note) <= NOTE + 1
    assert trace_of(note) == trace
    for forged in ("", "a prompt", "a prompt\n{", 'a\n{"moves": 3}', "a\n[1]"):
        assert trace_of(forged) is None
