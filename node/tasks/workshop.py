"""Where a task's work is done: in this process when it is light, else in child processes that can be killed.

`Children` starts a child when all it has are busy, up to the number of cores, and kills one that does not answer in time; a child that
was lost is replaced by the next call. Every call raises `TaskFailed` with the task's own words when it went wrong.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from node.tasks.base import MAX_SOLUTION, Heard, Task, Value
from node.tasks.child import HEADER, MAX_FRAME, encode
from protocol.errors import UserError

OPEN_S = 60.0
"""A child may take this long to import numpy and scipy and to bind its task, on a busy machine."""
ROOT = str(Path(__file__).resolve().parents[2])
CALL_S = 20.0
"""Beyond the seconds that a step was given."""


class TaskFailed(UserError):
    """A task raised, broke a limit, or did not answer."""

    kind = "task_failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A solution, its score, and how it was come by."""

    solution: bytes
    score: float
    gains: tuple[float, ...] = ()
    """What each of the moves tried has gained."""
    heard: Mapping[int, float] = field(default_factory=dict)
    """What the neighbours' solutions are worth, evaluated here."""
    sound: int = 0
    """Texts that were valid solutions as they stood."""
    seconds: float = 0.0
    """Of a core."""


class Workshop(ABC):
    """One task, bound to its parameters."""

    name: str
    moves: tuple[str, ...] = ()
    spoken: Mapping[str, str] = MappingProxyType({})
    """Words for the moves, where the task has them."""
    cores: int = 1
    highest = 1.0
    """No score is above it."""
    restarts = False
    """Whether a cell may give up what it has and start anew."""

    async def open(self) -> None:  # noqa: B027 - a light task has nothing to open
        """Before anything else. Raises `TaskFailed`."""

    @abstractmethod
    def valid(self, solution: bytes) -> bool:
        """Whether bytes from a peer may be looked at; a child looks closer."""

    @abstractmethod
    async def start(self, seed: int) -> Outcome: ...

    @abstractmethod
    async def look(self, own: bytes, heard: Heard) -> str:
        """Features for a model."""

    @abstractmethod
    async def invite(self, own: bytes, heard: Heard) -> tuple[str, tuple[str, ...]]:
        """The question for a model that writes whole solutions, and the neighbours' solutions in words."""

    @abstractmethod
    async def step(self, own: bytes, heard: Heard, moves: Sequence[str], seed: int, seconds: float) -> Outcome: ...

    @abstractmethod
    async def render(self, solution: bytes) -> str: ...

    def score(self, outcome: Outcome, heard: Heard, neighbours: int) -> float:
        """What the outcome is worth where it stands."""
        return outcome.score

    def label(self, solution: bytes) -> str:
        """A solution in a word, where that is enough."""
        return ""

    @abstractmethod
    async def check(self, solution: bytes) -> float:
        """What a solution that a peer reports is really worth."""

    async def close(self) -> None:  # noqa: B027 - nor to close
        """End the children."""


class Inline(Workshop):
    """A light task, here."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.name = task.name
        self.moves = tuple(task.moves())
        self.spoken = task.spoken

    def valid(self, solution: bytes) -> bool:
        return self._task.valid(solution)

    async def start(self, seed: int) -> Outcome:
        return Outcome(self._task.start(random.Random(seed)), 0.0)

    async def look(self, own: bytes, heard: Heard) -> str:
        return self._task.describe(own, heard)

    async def invite(self, own: bytes, heard: Heard) -> tuple[str, tuple[str, ...]]:
        question, shown = self._task.invite(own, heard)
        return question, tuple(shown)

    async def step(self, own: bytes, heard: Heard, moves: Sequence[str], seed: int, seconds: float) -> Outcome:
        made = self._task.propose(own, heard, random.Random(seed), moves[0] if moves else "")
        return Outcome(made, self._task.evaluate(made), (0.0,))

    async def render(self, solution: bytes) -> str:
        return self._task.render(solution)

    def label(self, solution: bytes) -> str:
        return self._task.render(solution)

    async def check(self, solution: bytes) -> float:
        return self._task.evaluate(solution)

    def score(self, outcome: Outcome, heard: Heard, neighbours: int) -> float:
        return self._task.score(outcome.solution, heard, neighbours)


class Children(Workshop):
    """A heavy task, or one from a file, in child processes."""

    restarts = True
    highest = 1e6

    def __init__(self, reference: str, values: Mapping[str, Value], cores: int) -> None:
        self._reference = reference
        self._values = dict(values)
        self.name = reference
        self.cores = cores
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._slots = asyncio.Semaphore(cores)
        self._closed = False

    async def open(self) -> None:
        async with self._slots:
            child = await self._child()
            self._idle.append(child)

    def valid(self, solution: bytes) -> bool:
        return len(solution) <= MAX_SOLUTION

    async def start(self, seed: int) -> Outcome:
        return _outcome(await self._call("start", seed))

    async def look(self, own: bytes, heard: Heard) -> str:
        return str(await self._call("look", own, dict(heard)))

    async def invite(self, own: bytes, heard: Heard) -> tuple[str, tuple[str, ...]]:
        question, shown = await self._call("invite", own, dict(heard))
        return str(question), tuple(map(str, shown))

    async def step(self, own: bytes, heard: Heard, moves: Sequence[str], seed: int, seconds: float) -> Outcome:
        return _outcome(await self._call("step", own, dict(heard), list(moves), seed, seconds, patience=CALL_S + seconds))

    async def render(self, solution: bytes) -> str:
        return str(await self._call("render", solution))

    async def check(self, solution: bytes) -> float:
        return float(await self._call("check", solution))

    async def close(self) -> None:
        self._closed = True
        for child in list(self._all):
            await child.end()
        self._all.clear()

    async def _call(self, method: str, *arguments: Any, patience: float = CALL_S) -> Any:
        async with self._slots:
            child = self._idle.pop() if self._idle else await self._child()
            try:
                result = await child.call(patience, method, *arguments)
            except _Lost as error:
                self._all.discard(child)
                await child.end()
                raise TaskFailed(f"The task {self.name} {error} and was stopped.") from error
            except asyncio.CancelledError:
                self._all.discard(child)
                await child.end()
                raise
            except TaskFailed:
                self._idle.append(child)
                raise
            self._idle.append(child)
            return result

    async def _child(self) -> _Child:
        if self._closed:
            raise TaskFailed("The run has ended.")
        child = await _Child.spawn()
        self._all.add(child)
        try:
            opened = await child.call(OPEN_S, "open", self._reference, self._values)
        except _Lost as error:
            self._all.discard(child)
            await child.end()
            raise TaskFailed(f"The task {self._reference} {error} while it was being opened.") from error
        except (TaskFailed, asyncio.CancelledError):
            self._all.discard(child)
            await child.end()
            raise
        self.name, self.moves = str(opened["name"]), tuple(map(str, opened["moves"]))
        self.spoken = {str(move): str(word) for move, word in opened["spoken"].items()}
        return child


class _Lost(Exception):
    """A child that is not to be talked to any more."""


class _Child:
    """One process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def spawn(cls) -> _Child:
        """Nothing of our environment but what Python needs goes in."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
        environment = kept | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "node.tasks.child", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
        return cls(process)

    async def call(self, patience: float, *request: Any) -> Any:
        """Raises `TaskFailed` for what the task raised, `_Lost` when the child is of no use any more."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None, "started with pipes"
        assert stdout is not None, "started with pipes"
        try:
            async with asyncio.timeout(patience):
                stdin.write(encode(request))
                await stdin.drain()
                (size,) = HEADER.unpack(await stdout.readexactly(HEADER.size))
                if size > MAX_FRAME:
                    raise _Lost(f"answered with {size} bytes")
                fine, result = msgspec.msgpack.decode(await stdout.readexactly(size))
        except TimeoutError as error:
            raise _Lost(f"did not answer within {patience:.0f} s") from error
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            raise _Lost("broke off (out of memory, or it ended itself)") from error
        if not fine:
            raise TaskFailed(f"The task raised {result}")
        return result

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


def _outcome(raw: Any) -> Outcome:
    heard = {int(cell): float(score) for cell, score in raw.get("heard", {}).items()}
    gains = tuple(map(float, raw["gains"]))
    return Outcome(bytes(raw["solution"]), float(raw["score"]), gains, heard, int(raw.get("sound", 0)), float(raw["seconds"]))
