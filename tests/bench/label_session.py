"""A newcomer's session as the README shows it: 200 rows, 20 answers at the screen by somebody who knows, accuracy before and after.

`COLUMNS=100 python -m tests.bench.label_session` prints it. The keys come from the gold labels; all else is what a person sees.
"""

from __future__ import annotations

import csv
import os
import random
import sys
import tempfile
from pathlib import Path

import cli.label_screen as screen
from cli.child import ChildDaemon
from cli.main import run
from protocol.labelling import ProjectInfo, QuestionRow

DATA = Path(__file__).parents[1] / "data" / "labelling" / "banking12_train.csv"
LABELS, EACH, ANSWERS = 8, 25, 20
FLAGS = ("--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--brain", "none")


class Typist:
    """Sees what the screen shows and types the number of the right label."""

    def __init__(self, gold: list[str]) -> None:
        self._gold = gold
        self._key = ""
        self._show = screen.show_question

    def see(self, question: QuestionRow, info: ProjectInfo, width: int, height: int) -> object:
        self._key = str(info.labels.index(self._gold[question.row]) + 1)
        return self._show(question, info, width, height)

    def type(self) -> str:
        print(f"> {self._key}", file=sys.stderr, flush=True)
        return self._key


def main() -> None:
    with DATA.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["label"] for row in rows})[:LABELS]
    pile = [row for name in names for row in [row for row in rows if row["label"] == name][:EACH]]
    random.Random(7).shuffle(pile)
    with tempfile.TemporaryDirectory(prefix="moot-session-") as scratch:
        os.chdir(scratch)
        with Path("tickets.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "text"])
            writer.writerows([number, row["text"]] for number, row in enumerate(pile, 1))
        daemon = ChildDaemon(Path(scratch) / "data", FLAGS)
        try:
            daemon.wait_ready()
            typist = Typist([row["label"] for row in pile])
            vars(screen).update(show_question=typist.see, _key=typist.type)
            for budget in (0, ANSWERS):
                arguments = ["--labels", ",".join(names), "--budget", str(budget), "--out", f"{budget}.csv"]
                code = run(["label", "tickets.csv", *arguments, "--data-dir", str(daemon.data_dir)])
                assert code == 0, f"moot label ended with {code}"
                print(f"[accuracy at {budget} answers: {_accuracy(Path(f'{budget}.csv'), pile):.1%}]")
        finally:
            daemon.stop()
            os.chdir(Path(__file__).parent)


def _accuracy(out: Path, pile: list[dict[str, str]]) -> float:
    """A row without a label counts as wrong."""
    with out.open(encoding="utf-8") as stream:
        right = sum(row["label"] == gold["label"] for row, gold in zip(csv.DictReader(stream), pile, strict=True))
    return float(right / len(pile))


if __name__ == "__main__":
    main()
