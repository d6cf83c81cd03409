"""The keys of the labelling screen mean what the screen says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from rich.console import Console

from cli.client import Client
from cli.commands.label import render_project
from cli.label_screen import interview, show_question
from protocol.labelling import AnswerRequest, ChangedAnswer, CorrectorInfo, HeadInfo, ProjectInfo, QuestionRow, Questions

LABELS = ["billing", "shipping"]


class FakeClient:
    """Three rows to ask about; remembers what was answered."""

    def __init__(self, labels: list[str]) -> None:
        self.sent: list[AnswerRequest] = []
        self._info = ProjectInfo(
            "p", "pile", "asking", labels, 3, 3, 0, 0, 0, 0, 9, False, [], {}, None, None, "Nothing is left to ask."
        )  # fmt: skip

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
