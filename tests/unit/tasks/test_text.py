"""A question with a rubric: points are counted, and nothing else."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.tasks.registry import make_task
from protocol.errors import InvalidRequest

TASK = make_task("text", {"question": "Why is the sky blue?", "rubric": "scatter|scatters; light; !ocean", "words": 8})


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Air scatters sunlight, and blue light most.", 1.0),
        ("The LIGHT of the sun.", 2 / 3),
        ("It mirrors the ocean.", 0.0),
        ("Scattering of lightning.", 1 / 3),
        ("light " * 12, 2 / 3 * 0.5),
        ("light " * 40, 0.0),
    ],
)
def test_points_are_met_by_whole_words_and_length_costs(text: str, score: float) -> None:
    assert TASK.evaluate(text.encode()) == pytest.approx(score)


@pytest.mark.parametrize("values", [{"question": " "}, {"rubric": ""}, {"rubric": " ; !;|"}])
def test_without_a_question_or_a_point_there_is_nothing_to_do(values: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="rubric"):
        make_task("text", values)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"two\nlines", b"x" * 2_001])
def test_bytes_that_are_no_line_of_text_are_worth_nothing(body: bytes) -> None:
    assert not TASK.valid(body)
    assert TASK.evaluate(body) == 0.0


@given(st.text(max_size=3_000))
def test_whatever_a_model_writes_is_refused_or_becomes_a_valid_line(text: str) -> None:
    read = TASK.parse(text)
    assert (read is None) == (not text.strip())
    assert read is None or TASK.valid(read)


def test_neighbours_answers_are_shown_best_last_and_their_sentences_can_be_taken() -> None:
    own, other = b"It is the ocean. Nobody knows.", b"Air scatters light."
    question, shown = TASK.invite(own, {3: other})
    assert question == "Why is the sky blue?"
    assert shown == [own.decode(), other.decode()]
    assert TASK.propose(own, {3: other}, random.Random(1), "MERGE") == own + b" " + other
    assert TASK.propose(own, {}, random.Random(1), "DROP") in (b"It is the ocean.", b"Nobody knows.")
    assert json.loads(TASK.render(other))["text"] == other.decode()
