"""Log-probabilities of answers, for many agents and questions in few passes.

A `Problem` is a prefix (an agent's solved examples), a question and the answers to choose from. The score of an answer is the
log-probability of its tokens after the question; the answers of a problem are then normalised against each other. Two things keep
this cheap without changing the result:

- The first tokens of all answers share one context, so the full normaliser over the vocabulary cancels between them; it is
  computed only where a second or later token is scored.
- Questions and answers are one trie: the answers' tokens follow the question in one row, each blind to the other answers, and
  questions to the same agent share a row, and their common words, on top of the agent's cached prefix.

Where one answer's tokens begin another's ("not", "not spam"), the shorter would win by construction; then every answer of the
problem is scored with the end-of-answer token behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from node.brains.gemma.decoder import MAX_PAST, MAX_ROW, Decoder, Past, Row
from node.brains.gemma.prefixes import Prefixes, Tokens
from protocol.errors import InvalidRequest

Scores = NDArray[np.float64]

_PAST_BYTES: Final = 256 << 20
"""Keys and values worked on at once; a larger call is answered in parts."""
_PACKED_ROW: Final = 256
"""Questions to one agent are packed into rows of up to this many tokens; longer rows spend more on attention than they save."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One agent's multiple choice question, in token ids. `end` is the token that closes an answer."""

    prefix: Tokens
    question: Tokens
    answers: tuple[Tokens, ...]
    end: int

    def endings(self) -> tuple[Tokens, ...]:
        """The token sequences to score."""
        clash = any(a == b[: len(a)] for i, a in enumerate(self.answers) for j, b in enumerate(self.answers) if i != j)
        return tuple((*answer, self.end) for answer in self.answers) if clash else self.answers

    @property
    def size(self) -> int:
        """Tokens of a row that holds the question and all answers, at most."""
        return len(self.question) + sum(len(ending) - 1 for ending in self.endings())


@dataclass(frozen=True, slots=True)
class _Read:
    """Score `token` of answer `answer` of problem `problem` from the hidden state of the row's token `at`."""

    problem: int
    answer: int
    at: int
    token: int
    normalised: bool


class _Trie:
    """A row under construction. Every token hangs on the token before it, and equal beginnings are held once: the answers of a question
    hang on its last token, and questions in the same words share those."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._children: dict[tuple[int, int], int] = {}
        self._parents: list[int] = []
        self._depths: list[int] = []
        self._tokens: list[int] = []
        self.reads: list[_Read] = []

    def __len__(self) -> int:
        return len(self._tokens)

    def shared(self, tokens: Tokens) -> int:
        """How many of the first tokens are here already."""
        at = -1
        for count, token in enumerate(tokens):
            if (at, token) not in self._children:
                return count
            at = self._children[at, token]
        return len(tokens)

    def add(self, problem: int, question: Tokens, endings: Iterable[tuple[int, Tokens]]) -> None:
        last = self._grow(-1, question)[-1]
        for answer, ending in endings:
            self.reads.append(_Read(problem, answer, last, ending[0], normalised=False))
            for at, token in zip(self._grow(last, ending[:-1]), ending[1:], strict=True):
                self.reads.append(_Read(problem, answer, at, token, normalised=True))

    def _grow(self, at: int, tokens: Tokens) -> list[int]:
        """The places of `tokens` along a path from place `at` (-1: the end of the past)."""
        path = []
        for token in tokens:
            below = self._children.setdefault((at, token), len(self._tokens))
            if below == len(self._tokens):
                self._parents.append(at)
                self._depths.append(self._depths[at] + 1 if at >= 0 else 0)
                self._tokens.append(token)
            at = below
            path.append(at)
        return path

    def row(self) -> Row:
        tree = np.eye(len(self._tokens), dtype=np.bool_)
        for index, parent in enumerate(self._parents):
            if parent >= 0:
                tree[index] |= tree[parent]
        return Row(self._past, self._tokens, self._depths, tree)


def score(decoder: Decoder, prefixes: Prefixes, problems: Sequence[Problem]) -> list[Scores]:
    """Natural log-probabilities over the answers of each problem, normalised over them.

    Raises `InvalidRequest` when a problem is longer than the decoder's longest context.
    """
    for problem in problems:
        _check_length(problem)
    found: list[Scores] = [np.zeros(0)] * len(problems)
    for group in _groups(decoder, problems):
        pasts = prefixes.get(group)
        tries = [trie for prefix, indices in group.items() for trie in _plant(decoder, pasts[prefix], problems, indices)]
        for index, totals in _sum(decoder, tries, problems).items():
            found[index] = totals - np.logaddexp.reduce(totals)
    return found


def _groups(decoder: Decoder, problems: Sequence[Problem]) -> Iterator[dict[Tokens, list[int]]]:
    """Indices of problems by prefix, in groups whose pasts fit `_PAST_BYTES`, or one problem where it alone does not."""
    group: dict[Tokens, list[int]] = {}
    used = 0
    for index in sorted(range(len(problems)), key=lambda index: problems[index].prefix):
        problem = problems[index]
        need = decoder.past_bytes(len(problem.prefix)) if problem.prefix not in group else 0
        if problem.size > MAX_ROW:
            need += decoder.past_bytes(len(problem.prefix) + len(problem.question))
        if group and used + need > _PAST_BYTES:
            yield group
            group, used = {}, 0
        group.setdefault(problem.prefix, []).append(index)
        used += need
    if group:
        yield group


def _check_length(problem: Problem) -> None:
    context = len(problem.prefix) + len(problem.question)
    longest = max(map(len, problem.endings()))
    if context > MAX_PAST or longest > MAX_ROW:
        raise InvalidRequest(
            f"The question with its examples is {context} tokens long and its longest choice {longest}, and this brain reads at most "
            f"{MAX_PAST} and {MAX_ROW}: shorten them.",
            param="question",
        )


def _plant(decoder: Decoder, past: Past, problems: Sequence[Problem], indices: Sequence[int]) -> list[_Trie]:
    """Rows that together hold the problems `indices`, which share `past`."""
    tries: list[_Trie] = []
    alone: list[_Trie] = []
    for index in sorted(indices, key=lambda index: problems[index].question):  # so that like questions meet in a row
        problem = problems[index]
        if problem.size > MAX_ROW:
            alone += _split(decoder, past, index, problem)
        else:
            _with_room(tries, past, problem.question, problem.size, _PACKED_ROW).add(index, problem.question, enumerate(problem.endings()))
    return tries + alone


def _split(decoder: Decoder, past: Past, index: int, problem: Problem) -> list[_Trie]:
    """A problem too long for one row: its question joins the past for once, its answers fill as many rows as they need."""
    [past] = decoder.extend([past], [problem.question[:-1]])
    last = problem.question[-1:]
    tries: list[_Trie] = []
    for answer, ending in enumerate(problem.endings()):
        _with_room(tries, past, last, len(ending), MAX_ROW).add(index, last, [(answer, ending)])
    return tries


def _with_room(tries: list[_Trie], past: Past, question: Tokens, size: int, limit: int) -> _Trie:
    """The first row that stays within `limit` tokens with `size` more, less what it shares with `question`; else a new one."""
    for trie in tries:
        if len(trie) + size - trie.shared(question) <= limit:
            return trie
    tries.append(_Trie(past))
    return tries[-1]


def _sum(decoder: Decoder, tries: Sequence[_Trie], problems: Sequence[Problem]) -> dict[int, Scores]:
    """Run the rows and add up each answer's token scores, by problem."""
    states = decoder.hidden([trie.row() for trie in tries])
    reads = [read for trie in tries for read in trie.reads]
    hidden = np.stack([state[read.at] for trie, state in zip(tries, states, strict=True) for read in trie.reads])
    values = decoder.logits(hidden, np.array([read.token for read in reads], np.int32)).astype(np.float64)
    later = np.array([read.normalised for read in reads])
    if later.any():
        values[later] -= decoder.normalisers(hidden[later])
    totals = {read.problem: np.zeros(len(problems[read.problem].answers)) for read in reads}
    for read, value in zip(reads, values, strict=True):
        totals[read.problem][read.answer] += value
    return totals
