"""The demo's last act: a pile labelled on three machines, taught by a few answers, and still known when its home is gone."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

from protocol.errors import NotAvailable

if TYPE_CHECKING:
    from rich.console import Console

    from cli.client import Client

SHOWN_AT = (8, 16, 24)
"""Answers after which the pile is looked at; the last is the budget."""
READ_S = 120.0
SHARED_S = 90.0
LOOK_S = 0.25
PATIENCE_S = 60.0

NEW_TEXTS = (
    ("I forgot my passcode", "passcode_forgotten"),
    ("My transfer still has not gone through", "pending_transfer"),
    ("What exchange rate do I get?", "exchange_rate"),
)
"""Written for the demo: in no pile."""


def tickets() -> list[tuple[str, str]]:
    """(text, gold label) of the 200 rows that ship with moot."""
    lines = files("cli").joinpath("demo_tickets.csv").read_text("utf-8").splitlines()
    return [(row["text"], row["label"]) for row in csv.DictReader(lines[1:])]


class Lesson:
    """One labelling project of the demo, started at `home`."""

    def __init__(self, out: Console, home: Client) -> None:
        self._out = out
        self._home = home
        self._rows = tickets()
        self._labels = sorted({label for _, label in self._rows})
        self._project = ""

    def teach(self, machines: int) -> None:
        """Send the pile, answer what is asked from the gold labels, show how the rest follows."""
        from protocol.labelling import ProjectInfo, ProjectRequest, RowsRequest

        wanted = ProjectRequest("moot demo", "tickets.csv", self._labels, SHOWN_AT[-1])
        self._project = self._home.post("/v1/labelling", ProjectInfo, wanted, PATIENCE_S).id
        for start in range(0, len(self._rows), 100):
            texts = [text for text, _ in self._rows[start : start + 100]]
            self._home.post(self._path("rows"), ProjectInfo, RowsRequest(start, texts), PATIENCE_S)
        self._home.post(self._path("complete"), ProjectInfo, timeout_s=PATIENCE_S)
        self._read()
        self._out.print(f"{len(self._rows)} rows of customers' questions, {len(self._labels)} labels, {machines} machines; 0 answers yet")
        for answers in SHOWN_AT:
            self._answer_until(answers)
            self._show(answers)
        self._shared(machines)

    def ask_elsewhere(self, client: Client, name: str) -> None:
        """New texts at a node that is not the project's home: it learnt from the same corrections."""
        from protocol.api.council import ConsensusAnswer, ConsensusRequest

        for text, gold in NEW_TEXTS:
            answer = client.post("/v1/consensus", ConsensusAnswer, ConsensusRequest(question=text, project=self._project), PATIENCE_S)
            said = answer.answer if answer.status == "answered" else f"abstained ({answer.reason})"
            mark = "[green]right[/]" if said == gold else "[yellow]not what was meant[/]"
            self._out.print(f'{name}  "{text}" -> [bold]{said}[/]  {mark}')

    def _read(self) -> None:
        import threading

        from protocol.labelling import ProjectInfo

        pause = threading.Event()
        with self._out.status("the machines read the rows") as status:
            for _ in range(int(READ_S / LOOK_S)):
                info = self._home.get(self._path(), ProjectInfo)
                if info.phase not in ("filling", "reading"):
                    return
                status.update(f"the machines read the rows: {info.read} of {info.rows}")
                pause.wait(LOOK_S)
        raise NotAvailable(f"The rows were not read within {READ_S:.0f} s.")

    def _shared(self, machines: int) -> None:
        """Wait until every machine keeps the project: what one machine alone knows dies with it."""
        import threading

        from protocol.labelling import ProjectInfo

        pause, holders = threading.Event(), 0
        with self._out.status("the corrections and rows reach the other machines"):
            for _ in range(int(SHARED_S / LOOK_S)):
                holders = self._home.get(self._path(), ProjectInfo).holders
                if holders >= machines:
                    break
                pause.wait(LOOK_S)
        self._out.print(f"rows and corrections are kept by {holders} machines")

    def _answer_until(self, answers: int) -> None:
        from protocol.labelling import AnswerRequest, ProjectInfo, Questions

        with self._out.status("the learners choose what to ask"):
            while True:
                asked = self._home.get(self._path("next"), Questions, PATIENCE_S)
                if not asked.questions or asked.info.corrections >= answers:
                    return
                question = asked.questions[0]
                gold = self._rows[question.row][1]
                if asked.info.corrections == 0:
                    self._out.print(f'[dim]first question: "{question.text}" -> answered {gold}[/]')
                info = self._home.post(self._path("answer"), ProjectInfo, AnswerRequest(question.row, gold), PATIENCE_S)
                if info.corrections >= answers:
                    return

    def _show(self, answers: int) -> None:
        from protocol.labelling import ProjectInfo

        outcome = Counter(self._outcomes())
        held = self._home.get(self._path(), ProjectInfo).held_back
        guess = f"; moot's own estimate {held.accuracy:.0%} ({held.low:.0%} to {held.high:.0%})" if held is not None else ""
        self._out.print(
            f"after {answers:2} answers: [green]{outcome['right']} right[/], [yellow]{outcome['unsure']} left to you[/], "
            f"[red]{outcome['wrong']} wrong[/]{guess}"
        )

    def _outcomes(self) -> Iterator[str]:
        from protocol.labelling import RowLabels

        start = 0
        while start < len(self._rows):
            page = self._home.get(self._path(f"labels?start={start}"), RowLabels, PATIENCE_S)
            for (_, gold), row in zip(self._rows[start:], page.rows, strict=False):
                yield "unsure" if row.abstained else "right" if row.label == gold else "wrong"
            start = page.end

    def _path(self, rest: str = "") -> str:
        return f"/v1/labelling/{self._project}" + (f"/{rest}" if rest else "")
