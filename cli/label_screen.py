"""The screen of `moot label`: one row at a time, answered with a key.

1 2 3 ...   a label (with ten or more labels: the number, then Enter; Backspace takes a digit back)
Enter       what moot guesses          n   a new label, or one that is there by its name
s  skip     u  undo the last answer    f   find labels by a part of their name, where there are many
q  pause: everything is kept

A row is shown on one screen however long it is, and without what would steer the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from cli.client import Client, in_path
from cli.target import console
from protocol.labelling import MAX_LABEL, AnswerRequest, ProjectInfo, QuestionRow, Questions

PATIENCE_S = 300.0
AROUND = 10
"""Lines of the screen that a row leaves to the rest."""
FEWEST_LINES = 3
LISTED = 24
"""Labels listed under a row; the others are found by name."""
MORE = "`moot label FILE` with the same labels and a larger --budget asks on"
NAMED = 4
"""Machines named beside a question."""

BACK = "\x7f\x08"

ReadKey = Callable[[], str]
"""The next key; "" when there will be none."""
ReadLine = Callable[[str], str]


def interview(client: Client, project: str, read_key: ReadKey | None = None, read_line: ReadLine | None = None) -> None:
    """Ask until the budget is spent, the person pauses, or the input ends."""
    screen = console(stderr=True)
    keys, lines = read_key or _key, read_line or screen.input
    path = f"/v1/labelling/{in_path(project)}"
    history: list[QuestionRow] = []
    again: QuestionRow | None = None
    while True:
        asked = client.get(f"{path}/next", Questions, PATIENCE_S)
        if not asked.questions and again is None:
            spent = asked.info.corrections >= asked.info.budget
            screen.print(Text(asked.info.hint + f" {MORE}." * spent))
            return
        question = again or asked.questions[0]
        screen.print(show_question(question, asked.info, screen.width, screen.height))
        try:
            request = _request(question, asked.info, history, keys, lines, screen)
        except (KeyboardInterrupt, EOFError):
            request = None
        if request is None:
            screen.print(Text(f"Paused. `moot label resume {project}` goes on."))
            return
        client.post(f"{path}/answer", ProjectInfo, request, PATIENCE_S)
        again = history.pop() if request.undo else None
        if not request.undo:
            history.append(question)
            screen.print(Text(f"row {question.row + 1}: {printable(request.label) if request.label else 'skipped'}", "dim"))


def show_question(question: QuestionRow, info: ProjectInfo, width: int = 80, height: int = 24) -> Group:
    """The row, the labels with their keys, and how the project stands."""
    text = Text(printable(question.text))
    text.truncate(max(FEWEST_LINES, height - AROUND) * max(1, width - 6), overflow="ellipsis")
    others = "n new label  s skip  u undo  q pause"
    others += "  f find" * (len(info.labels) > LISTED) + "  Enter takes the guess" * bool(question.guess)
    return Group(
        Panel(text, title=f"row {question.row + 1}", title_align="left"),
        _choices(info.labels, question.guess),
        Text(others, "dim"),
        Text(_standing(question, info), "dim"),
    )


def printable(text: str) -> str:
    """On one line, without escapes and other characters that steer a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _choices(labels: list[str], guess: str | None) -> Columns:
    """Numbered labels in columns, the guess in green; of many the first ones and the guess."""
    listed = [at for at, label in enumerate(labels) if at < LISTED or label == guess]
    shown: list[RenderableType] = [_choice(at, labels[at], labels[at] == guess) for at in listed]
    left = len(labels) - len(listed)
    return Columns([*shown, *([Text(f"and {left} more", "dim")] if left else [])], padding=(0, 2))


def _choice(at: int, label: str, guessed: bool = False) -> Text:
    return Text.assemble((f"{at + 1}", "bold cyan"), " ", (printable(label), "bold green" if guessed else ""))


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
    question: QuestionRow, info: ProjectInfo, history: list[QuestionRow], keys: ReadKey, lines: ReadLine, screen: Console
) -> AnswerRequest | None:
    """What the next keys mean; None: pause."""
    digits = ""
    while key := keys():
        if key.isdigit() or key in BACK or (key in "\r\n" and digits):
            digits, number = _digit(digits, key, len(info.labels), screen)
            if number:
                return AnswerRequest(question.row, info.labels[number - 1])
        elif key in "\r\n" and question.guess:
            return AnswerRequest(question.row, question.guess)
        elif key == "n" and (name := lines("new label: ").strip()[:MAX_LABEL]):
            return AnswerRequest(question.row, next((label for label in info.labels if label.casefold() == name.casefold()), name))
        elif key == "f" and len(info.labels) > LISTED:
            _find(lines("part of its name: ").strip(), info.labels, screen)
        elif key == "s":
            return AnswerRequest(question.row)
        elif key == "u" and history:
            return AnswerRequest(history[-1].row, undo=True)
        elif key in ("q", "\x03", "\x04"):
            return None
        elif key == "u":
            screen.print(Text("There is nothing to undo.", "yellow"))
        elif key not in "nf" and not key.isspace():
            screen.print(Text(f"'{printable(key) or '?'}' means nothing here.", "yellow"))
    return None


def _digit(digits: str, key: str, labels: int, screen: Console) -> tuple[str, int]:
    """The digits so far, and the number of a label once it is whole (else 0). What is typed is shown where it needs Enter."""
    if key in BACK:
        digits = digits[:-1]
    elif key.isdigit():
        digits += key
    number, whole = int(digits or "0"), key in "\r\n" or labels < 10
    if not digits or not whole:
        screen.print(Text(f"{digits} and Enter, or another digit" if digits else "no number", "dim"))
        return digits, 0
    if not 1 <= number <= labels:
        screen.print(Text(f"There is no label {digits}.", "yellow"))
        return "", 0
    return "", number


def _find(part: str, labels: list[str], screen: Console) -> None:
    """List the labels that have this in their name, with their numbers."""
    found = [at for at, label in enumerate(labels) if part.casefold() in label.casefold()]
    screen.print(Columns([_choice(at, labels[at]) for at in found[:LISTED]], padding=(0, 2)))
    if not found or len(found) > LISTED:
        screen.print(Text(f"{len(found)} labels have '{printable(part)}' in their name.", "yellow"))


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
