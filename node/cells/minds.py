"""Cells that are minds: a model picks their moves, or writes whole solutions.

What makes a thousand of them affordable on one node:

- every answer begins with a token of its own (`Task.spoken`), so the scores need no sum over the vocabulary;
- personas and the successes they are shown are shared beginnings, read once and kept; a cell's own part is one short line;
- all cells of a run here ask in one call: whoever comes while the model is busy shares the next one, and equal questions are one.

The score of a move is its log-probability less the one it has when the question says nothing, divided by the persona's boldness, and
the move is sampled, not taken greedily: left alone, a small model says the same word whatever it is told.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar

from node.brains.base import Ask, Choice, Example, Genome, Proposal
from node.cells.choosers import Bandit, Chooser, Picked, Scripted, Sight, Uniform
from node.cells.personas import boldness, persona_text
from node.runtime import Runtime
from node.tasks.base import WRITTEN
from protocol.errors import UserError

SHOTS = 5
SUCCESSES = 64
"""Successes remembered; the oldest make room."""
FIRST, FRESH = 4, 4.0
"""A persona is shown successes once there are so many, and others whenever there are so many times more: every draw is read anew."""
WORDY = 96
"""Tokens of a solution in words where nobody has shown one yet."""
BLANK = "n/a"
TOPIC = "move"
MAX_CALL = 256
"""Questions of one call of the model."""

Choose = Callable[[Sequence[Ask]], Awaitable[list[Choice]]]
Write = Callable[[Sequence[Ask]], Awaitable[list[Proposal]]]
Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Answer]):
    ask: Ask
    answer: Answer | None = None
    error: UserError | None = None
    seconds: float = 0.0


class Gathering(Generic[Answer]):
    """Questions asked together. No task of its own: of those that wait, one asks for all."""

    def __init__(self, runtime: Runtime, *, share: bool) -> None:
        """`share`: equal questions have one answer."""
        self._clock = runtime.monotonic
        self._share = share
        self._lock = asyncio.Lock()
        self._waiting: dict[object, _Waiting[Answer]] = {}

    async def ask(self, call: Callable[[Sequence[Ask]], Awaitable[list[Answer]]], asks: Sequence[Ask]) -> tuple[list[Answer], float]:
        """The answers, and these questions' share of the seconds that the calls took. Raises what a call raised."""
        mine = []
        for ask in asks:
            key: object = (ask.system, ask.examples, ask.question) if self._share else object()
            mine.append(self._waiting.setdefault(key, _Waiting(ask)))
        while any(entry.answer is None and entry.error is None for entry in mine):
            async with self._lock:
                if any(entry.answer is None and entry.error is None for entry in mine):
                    await self._call(call)
        seconds, answers = 0.0, []
        for entry in mine:
            if entry.error is not None:
                raise entry.error
            assert entry.answer is not None, "nobody waits any more"
            answers.append(entry.answer)
            seconds, entry.seconds = seconds + entry.seconds, 0.0  # equal questions cost once
        return answers, seconds

    async def _call(self, call: Callable[[Sequence[Ask]], Awaitable[list[Answer]]]) -> None:
        """Everything that waits, oldest first."""
        keys = list(self._waiting)[:MAX_CALL]
        batch = [self._waiting[key] for key in keys]
        began = self._clock()
        try:
            answers = await call([entry.ask for entry in batch])
        except UserError as error:
            for entry in batch:
                entry.error = error
        else:
            for entry, answer in zip(batch, answers, strict=True):
                entry.answer, entry.seconds = answer, (self._clock() - began) / len(batch)
        for key in keys:
            del self._waiting[key]


@dataclass(slots=True)
class _Shown:
    """What a persona is shown, and how many successes there were when it was drawn."""

    examples: tuple[Example, ...] = ()
    drawn_at: int = 0


@dataclass(slots=True)
class Shared:
    """What the model's cells of one run on this node have in common: the queue to the model, and moves that helped."""

    runtime: Runtime
    choices: Gathering[Choice] = field(init=False)
    proposals: Gathering[Proposal] = field(init=False)
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=SUCCESSES))
    helped: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=SUCCESSES))
    successes: int = 0
    shown: dict[bytes, _Shown] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.choices = Gathering(self.runtime, share=True)
        self.proposals = Gathering(self.runtime, share=False)


class Model(Chooser):
    """Picks moves by constrained log-probabilities: what it says is always a move."""

    wants: ClassVar[Literal["", "features", "invitation"]] = "features"

    def __init__(self, brain: str, spoken: dict[str, str], choose: Choose, shared: Shared, *, shuffled: bool) -> None:
        """`spoken`: the word for each move."""
        self._genome = Genome(brain)
        self._moves = tuple(spoken)
        self._words = tuple(spoken.values())
        self._spoken = spoken
        self._choose = choose
        self._shared = shared
        self._shuffled = shuffled

    async def pick(self, sight: Sight, count: int, rng: random.Random) -> Picked:
        own = self._line(sight)
        told = rng.choice(list(self._shared.seen) or [own]) if self._shuffled else own
        self._shared.seen.append(own)
        examples = self._examples(sight.persona)
        system = f"{persona_text(sight.persona)} Answers: {', '.join(self._words)}."
        asks = [Ask(self._genome, question, self._words, system=system, examples=examples) for question in (told, BLANK)]
        (informed, blank), seconds = await self._shared.choices.ask(self._choose, asks)
        scores = [(told - prior) / boldness(sight.persona) for told, prior in zip(informed.logprobs, blank.logprobs, strict=True)]
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        shares = " ".join(f"{word}={weight / sum(weights):.2f}" for word, weight in zip(self._words, weights, strict=True))
        shots = "".join(f"{example.question}\nAnswer: {example.answer}\n" for example in examples)
        prompt = f"{system}\n{shots}{told}\nAnswer:\n\n{shares}"
        heard = sight.features.partition("|")[2] or sight.features
        picked = rng.choices(self._moves, weights, k=count)
        return Picked(picked, prompt, own, heard.strip(), informed.prompt_tokens + blank.prompt_tokens, seconds)

    def learn(self, picked: Picked, gains: Sequence[float]) -> None:
        helped = [(picked.features, move) for move, gain in zip(picked.moves, gains, strict=False) if gain > 0.0]
        self._shared.helped.extend(helped)
        self._shared.successes += len(helped)

    def _line(self, sight: Sight) -> str:
        """The cell's own part of the prompt: one short line."""
        own, _, heard = sight.features.partition("|")
        tried = ", ".join(f"{self._spoken.get(move, move)} {'helped' if gained else 'failed'}" for move, gained in sight.tried)
        return "; ".join(part.strip() for part in (own, heard, tried) if part.strip())

    def _examples(self, persona: bytes) -> tuple[Example, ...]:
        """Successes of this run, the same for all cells of a persona, so that they are read once."""
        shared = self._shared
        shown = shared.shown.setdefault(persona, _Shown())
        if shared.successes >= max(FIRST, FRESH * shown.drawn_at):
            rng = random.Random(f"{persona.hex()} {shared.successes}")
            some = rng.sample(list(shared.helped), min(SHOTS, len(shared.helped)))
            examples = tuple(Example(TOPIC, line, (), self._spoken[move]) for line, move in some)
            shown = shared.shown[persona] = _Shown(examples, shared.successes)
        return shown.examples


class Writer(Chooser):
    """Writes whole solutions in words, after those of the neighbours; what it writes may be no solution at all."""

    wants: ClassVar[Literal["", "features", "invitation"]] = "invitation"

    def __init__(self, brain: str, write: Write, shared: Shared) -> None:
        self._brain = brain
        self._write = write
        self._shared = shared

    async def pick(self, sight: Sight, count: int, rng: random.Random) -> Picked:
        examples = tuple(Example(TOPIC, sight.question, (), text) for text in sight.shown[-SHOTS:])
        longest = 8 + max(map(len, sight.shown), default=WORDY)  # a token is a letter or more
        genome = Genome(self._brain, settings={"temperature": boldness(sight.persona), "max_tokens": longest})
        ask = Ask(genome, sight.question, system=persona_text(sight.persona), examples=examples)
        texts, seconds = await self._shared.proposals.ask(self._write, [ask] * count)
        shots = "".join(f"{example.question}\nAnswer: {example.answer}\n" for example in examples)
        prompt = f"{ask.system}\n{shots}{ask.question}\nAnswer:\n\n" + "\n".join(text.text for text in texts)
        tokens = sum(text.prompt_tokens + text.completion_tokens for text in texts)
        return Picked([WRITTEN + text.text for text in texts], prompt, tokens=tokens, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Faculties:
    """What the cells of one run on one node choose with."""

    brain: str
    moves: tuple[str, ...]
    spoken: dict[str, str]
    choose: Choose
    write: Write
    shared: Shared


def make_chooser(kind: str, proposals: str, given: Faculties) -> Chooser:
    """A cell's chooser by its name in `CHOOSERS`; with `proposals` other than "moves" the model writes whole solutions."""
    if kind in ("brain", "shuffled") and proposals != "moves":
        return Writer(given.brain, given.write, given.shared)
    if kind == "scripted" or not given.moves:
        return Scripted()
    if kind == "random":
        return Uniform(given.moves)
    if kind == "bandit":
        return Bandit(given.moves)
    spoken = {move: given.spoken.get(move, move.lower()) for move in given.moves}
    return Model(given.brain, spoken, given.choose, given.shared, shuffled=kind == "shuffled")
