"""The keys of the labelling screen mean what the screen says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.client import Client
from cli.label_screen import interview, show_question
from cli.render_label import render_project
from protocol.labelling import AnswerRequest, ChangedAnswer, CorrectorInfo, HeadInfo, ProjectInfo, QuestionRow, Questions

LABELS = ["billing", "shipping"]


class FakeClient:
    """Three rows to ask about; remembers what was answered."""

    def __init__(self, labels: list[str]) -> None:
        self.sent: list[AnswerRequest] = []
        self._info = ProjectInfo(
            "p", "pile", "asking", labels, 3, 3, 0, 0, 0, 0, 9, False, [], {}, None, None, "Nothing is left to ask."
        )  # fmt: skip

    def spend(self) -> None:
        """Every answer of the budget was given."""
        self.sent = [AnswerRequest(row, "billing") for row in range(3)]
        self._info = msgspec.structs.replace(self._info, corrections=9, hint="The budget of 9 answers is spent.")

    def get(self, path: str, shape: type[Any], timeout_s: float) -> Questions:
        known = {answer.row for answer in self.sent if not answer.undo}
        left = [QuestionRow(row, f"text {row}", "shipping", 0.6) for row in range(3) if row not in known]
        return Questions(left[:1], self._info)

    def post(self, path: str, shape: type[Any], body: AnswerRequest, timeout_s: float) -> ProjectInfo:
        self.sent.append(body)
        return self._info


def answers(keys: str, labels: list[str] = LABELS) -> list[AnswerRequest]:
    client = FakeClient(labels)
    typed: Iterator[str] = iter(keys)
    interview(cast(Client, client), "p", lambda: next(typed, ""), lambda prompt: "weather")
    return client.sent


def test_the_screen_says_where_the_learners_live() -> None:
    info = msgspec.structs.replace(FakeClient(LABELS).get("", Questions, 0).info, learners=["alder", "birch", "cedar"])
    screen = Console(width=120, record=True, file=io.StringIO())
    screen.print(show_question(QuestionRow(0, "text", "shipping", 0.6), info))
    assert "learners divided onto 3 machines (alder, birch, cedar)" in screen.export_text()


def test_the_screen_and_the_figures_say_which_head_divided_and_how_fit_each_is() -> None:
    line = "head ab12cd34 divided: child 12345678 on birch"
    info = msgspec.structs.replace(
        FakeClient(LABELS).get("", Questions, 0).info,
        divisions=[line],
        agents=[HeadInfo("ab12cd34", "spread joint", 0, "", "alder", "votes", 0.4, 0.123, 0.95, 40)],
        correctors=[CorrectorInfo("mmmmmmmm", "birch", 3), CorrectorInfo("nnnnnnnn", "cedar", 0, distrusted=True)],
        latest_changes=[ChangedAnswer(4, "shipping", "billing", "birch")],
    )
    screen = Console(width=160, record=True, file=io.StringIO())
    screen.print(show_question(QuestionRow(0, "text", "shipping", 0.6), info))
    assert line in screen.export_text()
    screen.print(render_project(info))
    shown = screen.export_text()
    for part in ("ab12cd34 spread joint  weight 0.40, log-loss 0.123, right 95%", "birch  3 rows", "DISTRUSTED", "by birch", "any member"):
        assert part in shown


def test_figures_name_the_home_and_do_not_say_that_no_machine_read_rows_that_were_read() -> None:
    info = msgspec.structs.replace(FakeClient(LABELS).get("", Questions, 0).info, home="mmmmmmmm", home_name="alder", rows=200, read=200)
    screen = Console(width=120, record=True, file=io.StringIO())
    screen.print(render_project(info))
    shown = screen.export_text()
    assert "alder (mmmmmmmm); rows and corrections are kept by 1 machine" in shown
    assert "200, 200 read" in shown
    assert "0 machines" not in shown


def test_a_number_picks_a_label_and_enter_the_guess() -> None:
    assert answers("1\n") == [AnswerRequest(0, "billing"), AnswerRequest(1, "shipping")]


def test_new_label_skip_and_undo() -> None:
    assert answers("nsu") == [AnswerRequest(0, "weather"), AnswerRequest(1), AnswerRequest(1, undo=True)]


def test_q_pauses_and_keys_without_meaning_are_passed_over() -> None:
    assert answers("9xu1q2") == [AnswerRequest(0, "billing")]


def test_with_ten_labels_a_number_ends_with_enter() -> None:
    many = [f"label {number}" for number in range(1, 13)]
    assert answers("12\n", many) == [AnswerRequest(0, "label 12")]


def test_a_key_without_a_meaning_is_named_and_nothing_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert answers("7z") == []
    said = capsys.readouterr().err
    assert "There is no label 7." in said
    assert "'z' means nothing here." in said


def screen_of(question: QuestionRow, labels: list[str], width: int, height: int) -> list[str]:
    info = msgspec.structs.replace(FakeClient(labels).get("", Questions, 0).info)
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(show_question(question, info, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("text", ["long row " * 4_000, "漢字" * 9_000, "line\n" * 5_000])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 20)])
def test_a_long_row_fits_the_screen(text: str, width: int, height: int) -> None:
    lines = screen_of(QuestionRow(0, text, "shipping", 0.6), LABELS, width, height)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width
    assert "shipping" in lines[-3]


def test_a_row_cannot_steer_the_terminal() -> None:
    (shown,) = [line for line in screen_of(QuestionRow(0, "a\x1b[31m\x07\x9b2Jb", None, None), LABELS, 80, 24) if "31m" in line]
    assert shown.isprintable()


def test_of_many_labels_some_are_listed_with_the_guess_and_the_others_are_found_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    many = [f"label {number}" for number in range(1, 501)]
    text = "\n".join(screen_of(QuestionRow(0, "text", "label 321", 0.6), many, 80, 24))
    assert "321 label 321" in text
    assert "and 475 more" in text
    client = FakeClient(many)
    typed = iter("f417\nq")
    interview(cast(Client, client), "p", lambda: next(typed, ""), lambda prompt: "el 417")
    assert client.sent == [AnswerRequest(0, "label 417")]
    assert "417 label 417" in capsys.readouterr().err


def test_a_new_label_that_is_there_already_is_not_made_twice() -> None:
    assert answers("n", ["billing", "Weather"]) == [AnswerRequest(0, "Weather")]


def test_after_an_undo_the_same_row_is_asked_again() -> None:
    assert answers("1u2") == [AnswerRequest(0, "billing"), AnswerRequest(0, undo=True), AnswerRequest(0, "shipping")]


def test_backspace_takes_a_digit_back() -> None:
    many = [f"label {number}" for number in range(1, 13)]
    assert answers("1\x7f7\nq", many) == [AnswerRequest(0, "label 7")]


def test_a_number_that_no_label_has_takes_its_enter_with_it() -> None:
    many = [f"label {number}" for number in range(1, 13)]
    assert answers("99\nq", many) == []


def test_a_spent_budget_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient(LABELS)
    client.spend()
    interview(cast(Client, client), "p", lambda: "", lambda prompt: "")
    assert "The budget of 9 answers is spent. `moot label FILE` with the same labels and a larger --budget" in " ".join(
        capsys.readouterr().err.split()
    )


def test_an_interrupt_pauses() -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    client = FakeClient(LABELS)
    interview(cast(Client, client), "p", interrupt)
    assert client.sent == []
