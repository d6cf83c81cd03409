"""How a question becomes tokens, for base models and for instruction-tuned ones; and which question asks nothing.

A base model continues a pattern, so it is shown the agent's solved examples in the form in which it is asked:

    Is this movie review positive or negative? "..."
    Answer: positive
    Is this movie review positive or negative? "..."
    Answer:

One form for every topic. Measured on 80 sentences apart from the shipped ones, it did as well as any of eleven (arrows, `Q:` and
`A:`, labels, blank lines between), and listing the choices in the prompt made the 270M model worse on every topic. A persona
changes a base model's choices by 0.012 in probability at most, so it is left out; instruction-tuned models get it as system text.

A *content-free* question keeps the task and blanks the passage it is about, so that what the model says to it is its leaning
(Zhao et al. 2021, "Calibrate Before Use"; kept in context as in Fei et al. 2023). Blanking the whole question instead measures another
task and cost a third of the accuracy; so a question without a passage ("What is the capital of Norway?") has no content-free form.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from node.brains.base import Ask
from node.brains.edits import persona_of
from node.brains.gemma.prefixes import Tokens
from node.brains.gemma.scoring import Problem
from node.brains.gemma.tokenizer import Tokenizer
from protocol.errors import NotAvailable

VERSION: Final = 1
"""Part of the brain's fingerprint: raise it with any change to prompts or content-free forms."""
_BLANKS: Final = ("N/A", "", "[MASK]")
_QUOTES: Final = (re.compile(r'"(.+)"', re.DOTALL), re.compile("“(.+)”", re.DOTALL), re.compile("«(.+)»", re.DOTALL))
_PARAGRAPH: Final = re.compile(r"[^\n]*\S[^\n]*")
_AFTER_COLON: Final = re.compile(r":\s+(\S.*)$", re.DOTALL)


def passage(question: str) -> tuple[int, int] | None:
    """Start and end of the text that a question is about: what it quotes, else its longest paragraph, else what follows a colon.

    The last two only where they are no question themselves: blanking too much is worse than blanking nothing.
    """
    for quotes in _QUOTES:
        if found := quotes.search(question):
            return found.span(1)
    paragraphs = [found.span() for found in _PARAGRAPH.finditer(question)]
    if len(paragraphs) > 1:
        span = max(paragraphs, key=lambda span: span[1] - span[0])
    elif found := _AFTER_COLON.search(question):
        span = found.span(1)
    else:
        return None
    return None if question[slice(*span)].rstrip().endswith(("?", ":")) else span


def content_free(question: str) -> tuple[str, ...]:
    """The question with its passage blanked in three ways; empty when it has no passage."""
    span = passage(question)
    return tuple(question[: span[0]] + blank + question[span[1] :] for blank in _BLANKS) if span else ()


class Prompts(ABC):
    """Turns asks into token ids. `prefix` is all that an agent brings to any question: worth computing once."""

    version: ClassVar[int] = VERSION
    ends: frozenset[int]
    """Tokens that close an answer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def problem(self, ask: Ask) -> Problem:
        """The ask as a multiple choice problem."""
        return self._problem(ask, ask.question)

    def content_free(self, ask: Ask) -> list[Problem]:
        """The same problem, asking nothing; empty when the question has no passage to blank."""
        return [self._problem(ask, question) for question in content_free(ask.question)]

    def _problem(self, ask: Ask, question: str) -> Problem:
        answers = tuple(self.answer(choice) for choice in ask.choices)
        return Problem(self.prefix(ask), self.question(ask, question, ask.choices), answers, min(self.ends))

    @abstractmethod
    def prefix(self, ask: Ask) -> Tokens:
        """Everything before the question."""

    @abstractmethod
    def question(self, ask: Ask, question: str, choices: Sequence[str]) -> Tokens:
        """A question, up to where the answer begins."""

    @abstractmethod
    def answer(self, choice: str) -> Tokens:
        """An answer, without its end."""


class FewShot(Prompts):
    """The pattern that a base model continues."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._newline = tokenizer.encode("\n")
        if len(self._newline) != 1:
            raise NotAvailable("The model's vocabulary has no line break: choose a Gemma 3 .gguf file with --model.")
        self.ends = frozenset(self._newline)

    def prefix(self, ask: Ask) -> Tokens:
        ids = [self.tokenizer.bos]
        if ask.system:
            ids += self.tokenizer.encode(ask.system) + self._newline
        for example in ask.examples:
            ids += [*self.question(ask, example.question, example.choices), *self.answer(example.answer), *self._newline]
        return tuple(ids)

    def question(self, ask: Ask, question: str, choices: Sequence[str]) -> Tokens:
        return tuple(self.tokenizer.encode(f"{question}\nAnswer:"))

    def answer(self, choice: str) -> Tokens:
        return tuple(self.tokenizer.encode(f" {choice}"))


class Turns(Prompts):
    """Gemma's chat form for instruction-tuned models; the turn markers are ids that text cannot spell. There is no system role:
    system text opens the first turn of the user."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        if tokenizer.start_of_turn is None or tokenizer.end_of_turn is None:
            raise NotAvailable("The model's vocabulary has no turn markers: choose a Gemma 3 -it .gguf file with --model.")
        self._start, self._end = tokenizer.start_of_turn, tokenizer.end_of_turn
        self.ends = frozenset({self._end})

    def prefix(self, ask: Ask) -> Tokens:
        ids = [self.tokenizer.bos]
        for index, example in enumerate(ask.examples):
            ids += self._turn(self._system(ask) if index == 0 else "", example.question, example.choices)
            ids += [*self.answer(example.answer), self._end, *self.tokenizer.encode("\n")]
        return tuple(ids)

    def question(self, ask: Ask, question: str, choices: Sequence[str]) -> Tokens:
        return self._turn("" if ask.examples else self._system(ask), question, choices)

    def answer(self, choice: str) -> Tokens:
        return tuple(self.tokenizer.encode(choice))

    def _turn(self, system: str, question: str, choices: Sequence[str]) -> Tokens:
        listed = f"\nAnswer with one of: {', '.join(choices)}." if choices else ""
        text = "\n\n".join(part for part in (system, question + listed) if part)
        encode = self.tokenizer.encode
        return (self._start, *encode(f"user\n{text}"), self._end, *encode("\n"), self._start, *encode("model\n"))

    @staticmethod
    def _system(ask: Ask) -> str:
        return "\n".join(part for part in (persona_of(ask.genome), ask.system) if part)
