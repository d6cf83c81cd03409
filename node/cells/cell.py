"""One cell: it says what it has, hears its neighbours, proposes something better, and again.

    exchange 0          everybody's start
    iteration 1, 2 ...  pick moves; try them on what was heard; say it; hear what the neighbours propose at the same time; score; report

A cell waits for a neighbour until it has spoken or has been silent for `patience` seconds. While it waits it repeats its own message,
which tells its neighbours that it lives and mends a message that was lost; so one dead node costs its neighbours one silence, once, and
the delay does not spread. A cell that ends leaves a last word: nobody waits for it any more. Whoever was silent is not
waited for again until it speaks. With `update` "asynchronous" nobody is waited for: a cell goes on with the newest messages it has, at
most `staleness` iterations old.

Within an iteration a cell may go several rounds: it looks at what its last moves made, chooses and tries again. After each iteration it
takes a trait of the neighbour that does best, as evaluated here, where one does better.

A run with `seconds` goes on until they are over and at least its iterations are done; each iteration takes its share of what is left.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from node.cells.choosers import Chooser, Picked, Sight
from node.cells.grid import OVERLAY, neighbours
from node.cells.personas import adapted, born
from node.cells.traces import Trace, with_trace
from node.runtime import Runtime
from node.tasks.base import WRITTEN
from node.tasks.workshop import Outcome, Workshop
from protocol.errors import UserError
from protocol.messages import CellMessage, CellReport, CellStart

REPEAT_S = (0.5, 8.0)
"""A message is repeated after a quarter of the patience, within these bounds: a thousand cells that wait for a model would drown it."""
SILENCE_S = 2.0
START_S = 6.0
"""At the start a neighbour may be silent this long: its host may not have heard of the run yet."""
EXCHANGE_S = 12.0
"""The longest one exchange may take, whatever the neighbours do."""
AHEAD = 4
"""Messages kept of one neighbour: it may be ahead of us."""
FAILURES = 3
"""A cell gives up after as many failed iterations in a row, and at once when its first one fails."""
SHORTEST_S = 0.02
MANY = 64
"""Moves that a cell asks for where the clock decides how many are tried."""
FOREVER_S = 3_600.0
LAST_WORD = 1_000_000
"""The iteration of what a cell says when it ends: it stands for all that would have followed."""
HISTORY = 2
"""Own moves that a model is told of."""
STALL = 150
"""A cell whose last so many proposals all gained nothing starts anew; what it had is with its neighbours and the home."""


class Settings:
    """The parameters of one run on one node; live ones change."""

    def __init__(self, plan: CellStart) -> None:
        self.values: dict[str, int | float | str] = dict(plan.settings)
        self.running = asyncio.Event()
        self.running.set()
        self.stopped = False
        self.share = 1.0
        """Cores over cells here: what part of the time a cell may compute."""
        self.graph: Mapping[int, tuple[int, ...]] = {}
        """Who hears whom under the topology `overlay`."""

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        return default if isinstance(value, str) else float(value)

    def word(self, name: str, default: str) -> str:
        return str(self.values.get(name, default))

    def around(self, plan: CellStart, cell: int) -> tuple[int, ...]:
        """Whom a cell hears under the present topology."""
        topology = self.word("topology", "neumann")
        return self.graph.get(cell, ()) if topology == OVERLAY else neighbours(plan.size, cell, topology, plan.seed)

    def apply(self, state: str, values: Mapping[str, int | float | str]) -> None:
        """What the home ordered."""
        self.values.update(values)
        self.stopped = self.stopped or state == "stopped"
        if state == "paused" and not self.stopped:
            self.running.clear()
        else:
            self.running.set()


@dataclass(frozen=True, slots=True)
class Mouth:
    """How a cell speaks."""

    say: Callable[[CellMessage], None]
    report: Callable[[CellReport], None]


class Cell:
    """A cell of one run on the node that hosts it."""

    def __init__(
        self, runtime: Runtime, plan: CellStart, number: int, workshop: Workshop, settings: Settings, chooser: Chooser, mouth: Mouth
    ) -> None:
        self._runtime = runtime
        self._plan = plan
        self._number = number
        self._workshop = workshop
        self._settings = settings
        self._chooser = chooser
        self._mouth = mouth
        self._random = random.Random(f"{plan.seed} {number} {plan.epoch}")
        self._persona = born(self._random)
        self._personas: dict[int, bytes] = {}
        self._inbox: dict[int, dict[int, bytes]] = {}
        self._patience: dict[int, float] = {}
        self._look_around(START_S)
        self._news = asyncio.Event()
        self._started = runtime.monotonic() - plan.elapsed
        self._idle = 0
        """Proposals since the last gain."""
        self._tried: deque[tuple[str, bool]] = deque(maxlen=HISTORY)

    def hear(self, message: CellMessage) -> None:
        """A neighbour's message; anything else is ignored."""
        box = self._inbox.get(message.sender)
        if box is None or not self._workshop.valid(message.body):
            return
        box[message.iteration] = message.body
        while len(box) > AHEAD:
            del box[min(box)]
        self._personas[message.sender] = message.persona
        self._patience[message.sender] = self._runtime.monotonic() + self._silence()
        self._news.set()

    async def live(self) -> None:
        """All iterations, to the end; a task that fails again and again ends the cell with a report that says why."""
        iteration = self._plan.iteration if self._number in self._plan.resumed else 0
        try:
            outcome = await self._first()
            heard = await self._exchange(iteration, outcome.solution)
            failures, last = 0, False
            while not last:
                await self._settings.running.wait()
                iteration += 1
                try:
                    outcome, note = await self._improve(iteration, outcome, heard)
                    failures = 0
                except UserError:
                    failures += 1
                    if failures >= FAILURES or iteration == 1:
                        raise
                    note = ""
                read = sorted(heard)
                self._look_around(self._silence())
                heard = await self._exchange(iteration, outcome.solution)
                score = self._workshop.score(outcome, heard, len(self._inbox))
                last = self._over(iteration)
                tried = len(outcome.gains)
                self._tell_home(CellReport(
                    self._plan.run_id, iteration, self._number, score, outcome.solution, read, last, tried, note
                ))  # fmt: skip
                self._adapt(outcome)
            self._tell(LAST_WORD, outcome.solution)
        except UserError as error:
            self._tell_home(CellReport(self._plan.run_id, max(1, iteration), self._number, 0.0, b"", [], True, 0, f"failed: {error}"[:500]))

    async def _first(self) -> Outcome:
        known = self._plan.resumed.get(self._number)
        if known and self._workshop.valid(known):
            return Outcome(known, await self._workshop.check(known))
        return await self._workshop.start(self._random.getrandbits(32))

    async def _improve(self, iteration: int, own: Outcome, heard: Mapping[int, bytes]) -> tuple[Outcome, str]:
        """One iteration's proposals, in as many rounds as the run has: in each the cell looks at what it has and chooses anew."""
        if self._idle >= STALL and self._workshop.restarts:
            self._idle = 0
            return await self._workshop.start(self._random.getrandbits(32)), ""
        rounds = max(1, int(self._settings.number("rounds", 1)))
        seconds = self._slice(iteration) / rounds
        turns = math.ceil(self._settings.number("turns", 1) / rounds)
        prompt, trace, outcome = "", Trace(), own
        gains: tuple[float, ...] = ()
        for _ in range(rounds):
            outcome, picked = await self._turn(outcome, heard, turns, seconds)
            prompt = picked.prompt or prompt
            trace = _joined(trace, picked, outcome)
            gains += outcome.gains
        self._idle = 0 if any(gains) else self._idle + len(gains)
        return replace(outcome, gains=gains), with_trace(prompt, trace) if prompt else ""

    async def _turn(self, own: Outcome, heard: Mapping[int, bytes], turns: int, seconds: float) -> tuple[Outcome, Picked]:
        """Look, choose, try. With `seconds` they count, else `turns`."""
        picked = await self._chooser.pick(await self._sight(own, heard), MANY if seconds else turns, self._random)
        if not picked.moves and not seconds and turns > 1:
            seconds = FOREVER_S  # the script chooses; `turns` bounds it
        moves = picked.moves or ([""] * turns if not self._timed() else [])
        outcome = await self._workshop.step(own.solution, heard, moves, self._random.getrandbits(32), seconds or FOREVER_S)
        self._chooser.learn(picked, outcome.gains)
        self._tried.extend((move, gain > 0.0) for move, gain in zip(picked.moves, outcome.gains, strict=False))
        return outcome, picked

    async def _sight(self, own: Outcome, heard: Mapping[int, bytes]) -> Sight:
        if self._chooser.wants == "invitation":
            question, shown = await self._workshop.invite(own.solution, heard)
            return Sight(self._persona, question=question, shown=shown)
        features = await self._workshop.look(own.solution, heard) if self._chooser.wants else ""
        return Sight(self._persona, features, tuple(self._tried))

    def _timed(self) -> bool:
        return self._settings.number("seconds", 0) > 0

    def _slice(self, iteration: int) -> float:
        """Seconds of computing for this iteration; 0 where turns count instead."""
        if not self._timed():
            return 0.0
        left = self._settings.number("seconds", 0) - (self._runtime.monotonic() - self._started)
        ahead = max(1, self._plan.iterations - iteration + 1)
        return max(SHORTEST_S, left / ahead * self._settings.share)

    def _over(self, iteration: int) -> bool:
        if self._settings.stopped:
            return True
        passed = self._runtime.monotonic() - self._started
        return iteration >= self._plan.iterations and passed >= self._settings.number("seconds", 0) - 0.2

    def _adapt(self, own: Outcome) -> None:
        """Take a trait from the neighbour that does best, where one does better."""
        known = {cell: worth for cell, worth in own.heard.items() if cell in self._personas}
        best = max(known, key=lambda cell: (known[cell], cell), default=None)
        if best is not None and known[best] > own.score:
            self._persona = adapted(self._persona, self._personas[best], self._random)

    def _look_around(self, patience: float) -> None:
        """Whom to hear, under the present topology."""
        around = self._settings.around(self._plan, self._number)
        if tuple(self._inbox) != around:
            self._inbox = {neighbour: self._inbox.get(neighbour, {}) for neighbour in around}
            until = self._runtime.monotonic() + patience
            self._patience = {neighbour: self._patience.get(neighbour, until) for neighbour in around}

    def _silence(self) -> float:
        return max(SILENCE_S, self._settings.number("patience", SILENCE_S))

    async def _exchange(self, iteration: int, solution: bytes) -> Mapping[int, bytes]:
        """Say the solution and return those of the neighbours that spoke in time."""
        clock = self._runtime.monotonic
        self._tell(iteration, solution)
        if self._settings.word("update", "synchronous") == "asynchronous" and iteration:
            await asyncio.sleep(0)
            oldest = iteration - int(self._settings.number("staleness", 4))
            return {neighbour: box[max(box)] for neighbour, box in self._inbox.items() if box and max(box) >= oldest}
        until = clock() + max(EXCHANGE_S, 2.0 * self._silence())
        pause = min(max(REPEAT_S[0], self._silence() / 4.0), REPEAT_S[1])
        repeat = clock() + pause
        while (end := min(until, self._latest(iteration))) > clock() and not self._settings.stopped:
            self._news.clear()
            try:
                async with asyncio.timeout(min(end, repeat) - clock()):
                    await self._news.wait()
            except TimeoutError:
                if clock() >= repeat:
                    repeat += pause
                    self._tell(iteration, solution)
        return {
            neighbour: box.get(iteration, box.get(LAST_WORD, b""))
            for neighbour, box in self._inbox.items()
            if iteration in box or LAST_WORD in box
        }

    def _latest(self, iteration: int) -> float:
        """When the last neighbour that has not spoken yet will have been silent for too long; 0 when all have spoken."""
        missing = [neighbour for neighbour, box in self._inbox.items() if max(box, default=-1) < iteration]
        return max((self._patience[neighbour] for neighbour in missing), default=0.0)

    def _tell(self, iteration: int, solution: bytes) -> None:
        for neighbour in self._inbox:
            self._mouth.say(CellMessage(self._plan.run_id, iteration, self._number, neighbour, solution, self._persona))

    def _tell_home(self, report: CellReport) -> None:
        self._mouth.report(report)


def _joined(before: Trace, picked: Picked, outcome: Outcome) -> Trace:
    """The trace of an iteration with one more round."""
    tried = picked.moves[: len(outcome.gains)]
    written = sum(move.startswith(WRITTEN) for move in tried)
    return Trace(
        picked.heard,
        before.moves + [move for move in tried if not move.startswith(WRITTEN)],
        before.worked_s + outcome.seconds,
        before.thought_s + picked.seconds,
        before.tokens + picked.tokens,
        before.written + written,
        before.sound + outcome.sound,
    )
