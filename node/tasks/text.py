"""`text`: a question answered in words, scored by a rubric.

The rubric is a list of points, `;` between them; a point is met when one of its alternatives (`|` between them) stands in the text as whole
words, and one that begins with `!` when none does. The score is the share of points met, less for a text that is too long. First
form, and no more than counting: it knows nothing of truth or style, and a text that only lists the words of the rubric scores full.
"""

from __future__ import annotations

import json
import random
import re
from typing import ClassVar

from node.tasks.base import Heard, Param, Task, Value
from protocol.errors import InvalidRequest

MAX_BYTES = 2_000
MOVES = ("MERGE", "DROP", "COPY")


class Text(Task):
    """A solution is UTF-8. A model writes it; the moves only take sentences from neighbours and drop some."""

    name = "text"
    description = "A question answered in words by a model (--chooser brain), scored by a rubric: points 'a|b; c; !d', counted, not judged."
    params: ClassVar = {
        "question": Param("Why is the sky blue?"),
        "rubric": Param("scatter|scatters|scattered|scattering; light|sunlight; air|atmosphere; wavelength|wavelengths; !ocean"),
        "words": Param(60, 1, 300),
        "proposals": Param("words", choices=("words", "moves")),
    }

    def __init__(self, values: dict[str, Value]) -> None:
        """Raises `InvalidRequest` where there is nothing to answer or to score."""
        super().__init__(values)
        self._question = " ".join(str(values["question"]).split())
        self._limit = int(values["words"])
        self._points = [_point(point) for point in str(values["rubric"]).split(";") if point.strip(" !|")]
        if not self._question or not self._points:
            raise InvalidRequest("'text' needs a question and a rubric: --param question=... --param 'rubric=one|two; three; !four'.")

    def valid(self, solution: bytes) -> bool:
        if not 0 < len(solution) <= MAX_BYTES:
            return False
        try:
            return solution.decode("utf-8").isprintable()
        except UnicodeDecodeError:
            return False

    def start(self, rng: random.Random) -> bytes:
        """The question itself: without a model there are no other words."""
        return self._packed(self._question)

    def moves(self) -> tuple[str, ...]:
        return MOVES

    def describe(self, own: bytes, heard: Heard) -> str:
        best = max((self.evaluate(solution) for solution in heard.values()), default=0.0)
        return f"points {self.evaluate(own):.2f} | best neighbour {best:.2f}"

    def invite(self, own: bytes, heard: Heard) -> tuple[str, list[str]]:
        ranked = sorted({own, *heard.values()} - {self.start(random.Random(0))}, key=lambda solution: (self.evaluate(solution), solution))
        return self._question, [solution.decode() for solution in ranked]

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        move = move or rng.choice(MOVES)
        sentences = _sentences(own)
        other = heard[rng.choice(sorted(heard))] if heard else own
        if move == "COPY":
            return other
        if move == "DROP" and len(sentences) > 1:
            del sentences[rng.randrange(len(sentences))]
        elif move == "MERGE":
            sentences += [rng.choice(_sentences(other))]
        return self._packed(" ".join(dict.fromkeys(sentences)))

    def evaluate(self, solution: bytes) -> float:
        if not self.valid(solution):
            return 0.0
        text = solution.decode()
        met = sum(bool(pattern.search(text)) == wanted for pattern, wanted in self._points) / len(self._points)
        over = max(0, len(text.split()) - self._limit)
        return met * max(0.0, 1.0 - over / self._limit)

    def render(self, solution: bytes) -> str:
        return json.dumps({"task": self.name, "question": self._question, "text": solution.decode(), "score": self.evaluate(solution)})

    def parse(self, text: str) -> bytes | None:
        return self._packed(text) if text.strip() else None

    def _packed(self, text: str) -> bytes:
        """One printable line that fits."""
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()) or "?"
        return line.encode()[:MAX_BYTES].decode(errors="ignore").encode()


def _point(text: str) -> tuple[re.Pattern[str], bool]:
    """What to look for, and whether it is wanted."""
    text = text.strip()
    alternatives = "|".join(re.escape(word.strip()) for word in text.lstrip("!").split("|") if word.strip())
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE), not text.startswith("!")


def _sentences(solution: bytes) -> list[str]:
    """At least one."""
    return [part.strip() for part in re.findall(r"[^.!?]+[.!?]*", solution.decode())] or [solution.decode()]
