"""The screen of `moot label`: one row at a time, answered with a key.

1 2 3 ...   a label (with ten or more labels: the number, then Enter)
Enter       what moot guesses          n   a new label
s  skip     u  undo the last answer    q   pause: everything is kept
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from cli.client import Client, in_path
from cli.target import console
from protocol.labelling import AnswerRequest, ProjectInfo, QuestionRow, Questions

PATIENCE_S = 300.0
SHOWN = 1_200
"""Characters of a row on the screen."""
NAMED = 4
"""Machines named beside a question."""

ReadKey = Callable[[], str]
"""The next key; "" when there will be none."""
ReadLine = Callable[[str], str]


def interview(client: Client, project: str, read_key: ReadKey | None = None, read_line: ReadLine | None = None) -> None:
    """Ask until the budget is spent, the person pauses, or the input ends."""
    screen = console(stderr=True)
    keys, lines = read_key or _key, read_line or screen.input
    path = f"/v1/labelling/{in_path(project)}"
    history: list[int] = []
    while True:
        asked = client.get(f"{path}/next", Questions, PATIENCE_S)
        if not asked.questions:
            screen.print(Text(asked.info.hint))
            return
        question = asked.questions[0]
        screen.print(show_question(question, asked.info))
        request = _request(question, asked.info, history, keys, lines, screen)
        if request is None:
            screen.print(Text(f"Paused. `moot label resume {project}` goes on."))
            return
        client.post(f"{path}/answer", ProjectInfo, request, PATIENCE_S)
        if not request.undo:
            history.append(request.row)


def show_question(question: QuestionRow, info: ProjectInfo) -> Group:
    """The row, the labels with their keys, and how the project stands."""
    text = question.text if len(question.text) <= SHOWN else question.text[: SHOWN - 3] + "..."
    keys = Text("  ").join(
        Text.assemble((f"{number}", "bold cyan"), " ", (label, "bold green" if label == question.guess else ""))
        for number, label in enumerate(info.labels, 1)
    )
    others = Text("n new label   s skip   u undo   q pause" + ("   Enter accepts the guess" if question.guess else ""), "dim")
    return Group(
        Panel(Text(text), title=f"row {question.row + 1}", title_align="left"), keys, others, Text(_standing(question, info), "dim")
    )


def _standing(question: QuestionRow, info: ProjectInfo) -> str:
    parts = [f"{info.corrections} of {info.budget} answers"]
    if question.guess is not None and question.confidence is not None:
        parts.append(f"guess {question.guess} ({question.confidence:.0%})")
    if info.expected is not None:
        parts.append(f"expected accuracy {info.expected:.0%}")
    if info.held_back is not None:
        parts.append(f"held back {info.held_back.accuracy:.0%} ({info.held_back.low:.0%} to {info.held_back.high:.0%})")
    if len(info.learners) > 1:
        parts.append(f"learners divided onto {len(info.learners)} machines ({', '.join(info.learners[:NAMED])})")
    if info.divisions:
        parts.append(info.divisions[-1])
    return ", ".join(parts) + ". " + (info.hint if info.phase == "enough" else "")


def _request(
    question: QuestionRow, info: ProjectInfo, history: list[int], keys: ReadKey, lines: ReadLine, screen: Console
) -> AnswerRequest | None:
    """What the next keys mean; None: pause."""
    digits = ""
    while key := keys():
        if key in "\r\n":
            if digits and 1 <= int(digits) <= len(info.labels):
                return AnswerRequest(question.row, info.labels[int(digits) - 1])
            if not digits and question.guess:
                return AnswerRequest(question.row, question.guess)
            digits = ""
        elif key.isdigit():
            digits = key if len(info.labels) < 10 else digits + key
            if len(info.labels) < 10 and 1 <= int(digits) <= len(info.labels):
                return AnswerRequest(question.row, info.labels[int(digits) - 1])
            if int(digits) == 0 or int(digits) > len(info.labels):
                screen.print(Text(f"There is no label {digits}.", "yellow"))
                digits = ""
        elif key == "n" and (name := lines("new label: ").strip()):
            return AnswerRequest(question.row, name[:200])
        elif key == "s":
            return AnswerRequest(question.row)
        elif key == "u" and history:
            return AnswerRequest(history.pop(), undo=True)
        elif key in ("q", "\x03", "\x04"):
            return None
        elif key == "u":
            screen.print(Text("There is nothing to undo.", "yellow"))
        elif key != "n" and not key.isspace():
            screen.print(Text(f"'{key}' means nothing here.", "yellow"))
    return None


def _key() -> str:
    """One key from the terminal, unbuffered; from a pipe one character."""
    if not sys.stdin.isatty():
        return sys.stdin.read(1)
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        return sys.stdin.read(1)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
