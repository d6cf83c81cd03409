"""Log-probabilities of answers, for many agents and questions in few passes.

A `Problem` is a prefix (an agent's solved examples), a question and the answers to choose from. The score of an answer is the
log-probability of its tokens after the question; the answers of a problem are then normalised against each other. Two things keep
this cheap without changing the result:

- The first tokens of all answers share one context, so the full normaliser over the vocabulary cancels between them; it is
  computed only where a second or later token is scored.
- Question and answers are one tree: the answers' tokens follow the question in one row, each blind to the other answers, and
  questions to the same agent share a row on top of the agent's cached prefix.

Where one answer's tokens begin another's ("not", "not spam"), the shorter would win by construction; then every answer of the
problem is scored with the end-of-answer token behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
        """Tokens of a row that holds the question and all answers."""
        return len(self.question) + sum(len(ending) - 1 for ending in self.endings())


@dataclass(frozen=True, slots=True)
class _Read:
    """Score `token` of answer `answer` of problem `problem` from the hidden state of the row's token `at`."""

    problem: int
    answer: int
    at: int
    token: int
    normalised: bool


@dataclass(slots=True)
class _Tree:
    """A row under construction: a question's last part and some answers, or several such groups."""

    past: Past
    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    spans: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(start, stop, question start, question stop): the tokens of a span see it causally and their question wholly."""
    reads: list[_Read] = field(default_factory=list)

    def add(self, problem: int, question: Tokens, endings: Iterable[tuple[int, Tokens]]) -> None:
        start = len(self.tokens)
        stop = start + len(question)
        self.tokens += question
        self.depths += range(len(question))
        self.spans.append((start, stop, start, start))
        for answer, ending in endings:
            fed = ending[:-1]
            at = len(self.tokens)
            self.reads.append(_Read(problem, answer, stop - 1, ending[0], normalised=False))
            self.reads += [_Read(problem, answer, at + i, token, normalised=True) for i, token in enumerate(ending[1:])]
            self.tokens += fed
            self.depths += range(len(question), len(question) + len(fed))
            self.spans.append((at, at + len(fed), start, stop))

    def row(self) -> Row:
        tree = np.zeros((len(self.tokens), len(self.tokens)), np.bool_)
        for start, stop, question_start, question_stop in self.spans:
            tree[start:stop, question_start:question_stop] = True
            tree[start:stop, start:stop] = np.tri(stop - start, dtype=np.bool_)
        return Row(self.past, self.tokens, self.depths, tree)


def score(decoder: Decoder, prefixes: Prefixes, problems: Sequence[Problem]) -> list[Scores]:
    """Natural log-probabilities over the answers of each problem, normalised over them.

    Raises `InvalidRequest` when a problem is longer than the decoder's longest context.
    """
    for problem in problems:
        _check_length(problem)
    found: list[Scores] = [np.zeros(0)] * len(problems)
    for group in _groups(decoder, problems):
        pasts = prefixes.get(group)
        trees = [tree for prefix, indices in group.items() for tree in _plant(decoder, pasts[prefix], problems, indices)]
        for index, totals in _sum(decoder, trees, problems).items():
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


def _plant(decoder: Decoder, past: Past, problems: Sequence[Problem], indices: Sequence[int]) -> list[_Tree]:
    """Rows that together hold the problems `indices`, which share `past`."""
    packed: list[_Tree] = []
    alone: list[_Tree] = []
    for index in sorted(indices, key=lambda index: -len(problems[index].question)):
        question, endings, size = problems[index].question, list(enumerate(problems[index].endings())), problems[index].size
        if size > MAX_ROW:
            alone += _split(decoder, past, index, question, endings)
            continue
        tree = next((tree for tree in packed if len(tree.tokens) + size <= _PACKED_ROW), None)
        if tree is None:
            tree = _Tree(past)
            packed.append(tree)
        tree.add(index, question, endings)
    return packed + alone


def _split(decoder: Decoder, past: Past, index: int, question: Tokens, endings: list[tuple[int, Tokens]]) -> list[_Tree]:
    """A problem too long for one row: its question joins the past for once, its answers fill as many rows as they need."""
    [past] = decoder.extend([past], [question[:-1]])
    trees: list[_Tree] = []
    part: list[tuple[int, Tokens]] = []
    room = MAX_ROW - 1
    for answer, ending in endings:
        if len(ending) - 1 > room:
            trees.append(_Tree(past))
            trees[-1].add(index, question[-1:], part)
            part, room = [], MAX_ROW - 1
        part.append((answer, ending))
        room -= len(ending) - 1
    trees.append(_Tree(past))
    trees[-1].add(index, question[-1:], part)
    return trees


def _sum(decoder: Decoder, trees: Sequence[_Tree], problems: Sequence[Problem]) -> dict[int, Scores]:
    """Run the rows and add up each answer's token scores, by problem."""
    states = decoder.hidden([tree.row() for tree in trees])
    reads = [read for tree in trees for read in tree.reads]
    hidden = np.stack([state[read.at] for tree, state in zip(trees, states, strict=True) for read in tree.reads])
    values = decoder.logits(hidden, np.array([read.token for read in reads], np.int32)).astype(np.float64)
    later = np.array([read.normalised for read in reads])
    if later.any():
        values[later] -= decoder.normalisers(hidden[later])
    totals = {read.problem: np.zeros(len(problems[read.problem].answers)) for read in reads}
    for read, value in zip(reads, values, strict=True):
        totals[read.problem][read.answer] += value
    return totals
