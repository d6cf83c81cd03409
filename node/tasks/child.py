"""A task in a process of its own: `python -m node.tasks.child` and the side that talks to it.

The child reads one request a line of MessagePack (4 bytes of length, then an array `[method, arguments...]`) from its standard input and
answers likewise; what the task itself prints goes to standard error. Before it imports the task it takes limits on itself: memory, open
files, size of files. Time is kept from outside: who does not answer is killed. This is a guard against mistakes in a file of this
machine's owner, not a sandbox: a peer's code is never run.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from typing import IO, Any

import msgspec

from node.runtime import Runtime, SystemRuntime
from node.tasks.base import WRITTEN, Task
from node.tasks.registry import make_task
from protocol.errors import UserError

HEADER = struct.Struct(">I")
MAX_FRAME = 1 << 20
MEMORY = 2 << 30
"""Bytes of address space of one child: numpy and scipy take about a third of it."""
MAX_TURNS = 256


def encode(value: Any) -> bytes:
    body = msgspec.msgpack.encode(value)
    return HEADER.pack(len(body)) + body


class Server:
    """The child's side: one task, bound to its parameters."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._task: Task | None = None

    def open(self, reference: str, values: dict[str, Any]) -> dict[str, Any]:
        """Bind the task; returns its name, its moves and the words for them."""
        self._task = make_task(reference, values)
        return {"name": self._task.name, "moves": list(self._task.moves()), "spoken": dict(self._task.spoken)}

    def start(self, seed: int) -> dict[str, Any]:
        task, began = self._bound(), self._runtime.monotonic()
        solution = task.start(random.Random(seed))
        score = _score(task, solution)
        return {"solution": solution, "score": score, "gains": [0.0], "seconds": self._runtime.monotonic() - began}

    def look(self, own: bytes, heard: dict[int, bytes]) -> str:
        task = self._bound()
        return task.describe(own, self._sound(heard))[:500]

    def invite(self, own: bytes, heard: dict[int, bytes]) -> list[Any]:
        question, shown = self._bound().invite(own, self._sound(heard))
        return [question[:1_000], [text[:1_000] for text in shown[-16:]]]

    def render(self, solution: bytes) -> str:
        task = self._bound()
        return task.render(solution) if task.valid(solution) else ""

    def check(self, solution: bytes) -> float:
        """What a solution from elsewhere is worth: 0 unless it is valid."""
        task = self._bound()
        return _score(task, solution) if task.valid(solution) else 0.0

    def step(self, own: bytes, heard: dict[int, bytes], moves: list[str], seed: int, seconds: float) -> dict[str, Any]:
        """Moves one after another, each kept when it is better, until they or the seconds are used up.

        Without moves the task chooses them itself. Returns the solution, its score, what each move tried has gained, what the neighbours'
        solutions are worth, how many texts were solutions as they stood, and the seconds taken.
        """
        task, rng = self._bound(), random.Random(seed)
        neighbours = self._sound(heard)
        best, score = own, _score(task, own)
        gains: list[float] = []
        sound = 0
        began = self._runtime.monotonic()
        until = began + seconds
        while len(gains) < (len(moves) or MAX_TURNS):
            move = moves[len(gains)] if moves else ""
            if move.startswith(WRITTEN):
                made, well = self._read(move.removeprefix(WRITTEN), best, rng)
                sound += well
            else:
                made = task.propose(best, neighbours, rng, move)
            found = _score(task, made)
            gains.append(max(0.0, found - score))
            if found > score:
                best, score = made, found
            if self._runtime.monotonic() >= until:
                break
        worth = {cell: _score(task, solution) for cell, solution in neighbours.items()}
        taken = self._runtime.monotonic() - began
        return {"solution": best, "score": score, "gains": gains, "heard": worth, "sound": sound, "seconds": taken}

    def _read(self, text: str, own: bytes, rng: random.Random) -> tuple[bytes, bool]:
        """A solution that a model wrote, repaired, and whether it was one as it stood; its own where there is nothing to read."""
        task = self._bound()
        read = task.parse(text)
        return (own, False) if read is None else (task.repair(read, rng), task.valid(read))

    def _sound(self, heard: dict[int, bytes]) -> dict[int, bytes]:
        task = self._bound()
        return {cell: solution for cell, solution in heard.items() if task.valid(solution)}

    def _bound(self) -> Task:
        if self._task is None:
            raise ValueError("no task is open")
        return self._task


METHODS = ("open", "start", "look", "invite", "render", "check", "step")


def _score(task: Task, solution: bytes) -> float:
    """Raises `ValueError` for a score that is no number: a task must not win by NaN."""
    score = float(task.evaluate(solution))
    if score != score or score in (float("inf"), float("-inf")):
        raise ValueError(f"evaluate returned {score}, which is no score")
    return score


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the other side hangs up. What the task raises is answered, not fatal."""
    server = Server(SystemRuntime())
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        method, *arguments = msgspec.msgpack.decode(requests.read(HEADER.unpack(header)[0]), strict=False)
        try:
            if method not in METHODS:
                raise ValueError(f"no method {method}")
            answer = [True, getattr(server, method)(*arguments)]
            size = len(answer[1].get("solution", b"")) if isinstance(answer[1], dict) else 0
            if size > 4_096:
                raise ValueError(f"a solution of {size} bytes is over the limit of 4096")
        except UserError as error:
            answer = [False, str(error)]
        # Supervision boundary: the task is not our code, and its author wants to know what it raised.
        except Exception as error:  # noqa: BLE001
            answer = [False, f"{type(error).__name__}: {error}"[:400]]
        answers.write(encode(answer))
        answers.flush()


def main() -> None:
    """Take limits, keep standard output for answers, serve."""
    import resource

    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    if sys.platform == "linux":  # macOS counts shared mappings and refuses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(5)  # the daemon itself must stay quick
    import warnings

    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
