from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.calibration import BEND, MIN_STEP, UNCALIBRATED, Calibration, Step, basis, confidence, fit, rises

RIGHT, WRONG = True, False


@pytest.mark.parametrize(
    ("pairs", "steps"),
    [
        ([], []),
        ([(0.9, RIGHT)], [(1.0, 0.9, 3 / 4)]),
        ([(0.9, WRONG)], [(1.0, 0.9, 1 / 4)]),
        ([(0.6, WRONG), (0.8, RIGHT)], [(0.7, 0.6, 1 / 4), (1.0, 0.8, 3 / 4)]),
        ([(0.6, RIGHT), (0.8, WRONG)], [(1.0, 0.7, 1 / 2)]),  # one violation, one step
        ([(0.6, RIGHT), (0.6, WRONG), (0.6, RIGHT)], [(1.0, 0.6, 5 / 8)]),  # equal scores are one observation
        ([(0.8, RIGHT), (0.6, WRONG)], [(0.7, 0.6, 1 / 4), (1.0, 0.8, 3 / 4)]),  # order does not matter
        (
            [(0.1, WRONG), (0.2, RIGHT), (0.3, WRONG), (0.4, RIGHT), (0.5, RIGHT)],
            [(0.15, 0.1, 1 / 4), (0.35, 0.25, 1 / 2), (1.0, 0.45, 5 / 6)],
        ),
    ],
)
def test_the_staircase(pairs: list[tuple[float, bool]], steps: list[tuple[float, float, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.calibration.MIN_STEP", 1)
    fitted = fit(pairs)
    assert [x for step in fitted for x in (step.upto, step.centre, step.confidence)] == pytest.approx([x for step in steps for x in step])


def test_no_step_stands_on_few_canaries_where_there_are_many() -> None:
    rng = random.Random(2)
    steps = fit([(score, rng.random() < score) for score in (rng.random() for _ in range(200))])
    assert len(steps) > 3
    assert min(step.count for step in steps) >= MIN_STEP


def test_a_perfect_record_is_never_certainty() -> None:
    [step] = fit([(0.5 + number / 200, RIGHT) for number in range(60)])
    assert (step.confidence, step.right, step.count) == (60.5 / 61, 60, 60)


def test_a_lucky_last_canary_does_not_break_the_rise() -> None:
    """Nineteen of twenty, then one of one: shrunk, the second would fall below the first."""
    pairs = [*[(0.6, n != 3) for n in range(20)], (0.99, RIGHT)]
    assert [step.confidence for step in fit(pairs)] == [20.5 / 22]


scores = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=80)


@given(scores)
def test_a_fitted_map_rises_counts_everything_and_never_claims_certainty(pairs: list[tuple[float, bool]]) -> None:
    steps = fit(pairs)
    assert rises(steps)
    assert all(low.confidence < high.confidence for low, high in pairwise(steps))
    assert all(0.0 < step.confidence < 1.0 for step in steps)
    assert sum(step.count for step in steps) == len(pairs)
    assert sum(step.right for step in steps) == sum(right for _, right in pairs)
    assert steps[-1].upto == 1.0


@given(scores)
def test_no_monotone_map_without_shrinking_fits_better(pairs: list[tuple[float, bool]]) -> None:
    """The raw shares of the final steps never fall, and every score falls on the step that counted it."""
    steps = fit(pairs)
    assert all(low.right * high.count <= high.right * low.count for low, high in pairwise(steps))
    edges = [step.upto for step in steps]
    counted = Counter(bisect_left(edges, score) for score, _ in pairs)
    assert [counted[index] for index in range(len(steps))] == [step.count for step in steps]


@given(scores, st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20))
def test_a_higher_score_never_brings_a_lower_confidence(pairs: list[tuple[float, bool]], asked: list[float]) -> None:
    steps = fit(pairs)
    promised = [confidence(steps, score) or 0.0 for score in sorted(asked)]
    assert all(low <= high + 1e-12 for low, high in pairwise(promised))
    assert all(0.0 < one < 1.0 for one in promised)


def test_one_step_still_tells_sure_answers_from_doubtful_ones() -> None:
    """A council that is right in every canary has a map of one step; which of its answers to doubt the score still says."""
    steps = fit([(0.5 + number / 200, RIGHT) for number in range(60)])
    doubtful, fair, sure = (confidence(steps, score) or 0.0 for score in (0.4, steps[0].centre, 0.9))
    assert doubtful < fair < sure
    assert fair == steps[0].confidence


def test_looking_up() -> None:
    steps = [Step(0.7, 0.6, 0, 1), Step(1.0, 0.8, 1, 1)]  # promise 1/4 and 3/4
    found = [confidence(steps, score) for score in (0.0, 0.6, 0.7, 0.75, 0.8, 1.0)]
    down, up = BEND * 1 / 4, BEND * 1 / 2
    assert found == pytest.approx([1 / 4 - down, 1 / 4, 1 / 4 + up, 3 / 4 - up / 2, 3 / 4, 3 / 4 + down])
    assert confidence([], 0.9) is None


@pytest.mark.parametrize(
    "steps",
    [
        [Step(1.0, 0.9, 2, 1)],
        [Step(1.0, 0.9, 0, 0)],
        [Step(0.9, 0.8, 1, 1)],
        [Step(1.0, 1.1, 1, 1)],
        [Step(1.0, -0.1, 1, 1)],
        [Step(0.7, 0.6, 0, 1), Step(1.0, 0.6, 1, 1)],
        [Step(0.7, 0.6, 1, 1), Step(1.0, 0.8, 0, 1)],
        [Step(1.0, 0.6, 0, 1), Step(0.7, 0.8, 1, 1)],
        [Step(1.0, float("nan"), 1, 1)],
        [Step(float("nan"), 0.5, 0, 1), Step(1.0, 0.8, 1, 1)],
    ],
)
def test_what_is_no_map(steps: list[Step]) -> None:
    assert not rises(steps)


@pytest.mark.parametrize(
    ("calibration", "voters", "text"),
    [
        (Calibration("isotonic", 60, bytes(32), 3, "sentiment", 12, 11), 3, "60 canaries; topic sentiment 11 of 12 right"),
        (Calibration("isotonic", 60, bytes(32), 3), 3, "60 canaries; untested topic: none of them is like this question"),
        (
            Calibration("isotonic", 60, bytes(32), 8, "sentiment", 12, 12),
            12,
            "60 canaries; topic sentiment 12 of 12 right; measured on 8 of 12 voters",
        ),
        (UNCALIBRATED, 3, "uncalibrated: too few agents of this panel have answered the canary questions yet"),
    ],
)
def test_the_basis_in_words(calibration: Calibration, voters: int, text: str) -> None:
    assert basis(calibration, voters, gradable=True).text == text


def test_other_kinds_are_never_calibrated() -> None:
    assert "only choice and boolean" in basis(UNCALIBRATED, 3, gradable=False).text
