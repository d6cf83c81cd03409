"""Asking the guests of a project: what to read, their votes, what the panel makes of them. A few questions at a time; in the background
where rows of the pile are read, and under a deadline where somebody waits for a new text.

Guests are asked on the node that hosts their brain, for the learners of that node: labels of two nodes may differ on the few rows that
a guest of one of them read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import structlog

from node.brains.base import Ask, Choice
from node.label.around import Minds
from protocol.errors import LocalError, UserError

if TYPE_CHECKING:
    from node.label.bench import Bench
    from node.label.guests import Wish
    from node.label.views import Matrix

T = TypeVar("T")
Work = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs blocking work where the project's learners live."""
TURNS = 32
"""A guest is tried on corrections first; only then, and only if it helps, does it read rows of the pile. What is left is read when the
next corrections have been weighed."""
AT_ONCE = 4
"""Questions of one call: so long at most waits whoever needs the brain."""
READ_S = 600.0
"""For what a guest is to read at one time. What takes longer is given up until it is invited again."""
NEW_TEXT_S = 4.0
"""For all guests together to vote on new texts: somebody waits."""
REST_S = 60.0
"""A guest that was late is not waited for again for so long."""

log = structlog.get_logger("labelling")


@dataclass(slots=True)
class Said:
    """What a guest said of new texts."""

    votes: dict[int, Matrix] = field(default_factory=dict)
    """Which text -> its vote, shape (labels,)."""
    late: list[int] = field(default_factory=list)
    """Texts that it was asked about and did not vote on in time."""


class Invitations:
    """Which projects' guests are being asked, and which are paused."""

    def __init__(self, minds: Minds | None, work: Work[object], monotonic: Callable[[], float]) -> None:
        self._minds = minds
        self._work = work
        self._monotonic = monotonic
        self._under_way: set[str] = set()
        self._rests: dict[str, float] = {}
        """Brain -> until when it is not waited for."""
        self.paused: set[str] = set()

    async def invite(self, project: str, bench: Bench, labels: Sequence[str], *, local: bool) -> None:
        """Let every brain here read what it should read now; a brain that fails costs its own votes only."""
        if self._minds is None or project in self._under_way:
            return
        self._under_way.add(project)
        try:
            async with asyncio.TaskGroup() as tasks:
                for brain in self._minds.names(local=local):
                    tasks.create_task(self._ask(project, bench, brain, labels), name=f"guest {brain}")
        finally:
            self._under_way.discard(project)

    def resting(self, brain: str) -> bool:
        """Whether it was late a moment ago."""
        return self._monotonic() < self._rests.get(brain, 0.0)

    async def of_new(self, wishes: dict[str, tuple[Wish, list[int]]], labels: Sequence[str]) -> dict[str, Said]:
        """Votes on new texts, from every guest at the same time, within `NEW_TEXT_S` for all of them; `wishes` as `Bench.wishes` has
        them."""
        said = {brain: Said(late=list(at)) for brain, (_, at) in wishes.items()}
        async with asyncio.TaskGroup() as tasks:
            for brain, (wish, at) in wishes.items():
                if not self.resting(brain):
                    tasks.create_task(self._say(brain, wish, at, labels, said[brain]), name=f"guest {brain}")
        return said

    async def _say(self, brain: str, wish: Wish, at: list[int], labels: Sequence[str], said: Said) -> None:
        """One text after the other, so that those before the deadline count."""
        from node.label.fewshot import round_of

        assert self._minds is not None
        try:
            async with asyncio.timeout(NEW_TEXT_S):
                for row, text in zip(at, wish.texts, strict=True):
                    asked = round_of(replace(wish, texts=(text,)), labels, brain, 0)
                    choices = await self._minds.choose(brain, asked.asks, urgent=True) if asked.asks else []
                    said.votes[row] = asked.votes(choices, 1)[0]
                    said.late.remove(row)
        except (TimeoutError, UserError, LocalError) as error:
            self._rests[brain] = self._monotonic() + REST_S
            log.info("a guest did not vote on a new text in time", brain=brain, reason=str(error) or f"{NEW_TEXT_S:.0f} s are over")

    async def _ask(self, project: str, bench: Bench, brain: str, labels: Sequence[str]) -> None:
        from node.label.fewshot import round_of

        for turn in range(TURNS):
            wish = None if project in self.paused else await self._run(lambda: bench.wish(brain))
            if wish is None:
                return
            asked = round_of(wish, labels, brain, turn)
            reason = "paused"
            try:
                async with asyncio.timeout(READ_S):
                    choices = await self._choose(project, brain, asked.asks)
            except TimeoutError:
                choices, reason = None, f"not done within {READ_S:.0f} s"
            except (UserError, LocalError) as error:
                choices, reason = None, str(error)
            if choices is None:
                log.info("a guest did not finish", project=project, brain=brain, reason=reason)
                return
            votes = asked.votes(choices, len(wish.texts))
            await self._run(lambda wish=wish, votes=votes: bench.hear(brain, wish, votes))  # type: ignore[misc]

    async def _choose(self, project: str, brain: str, asks: Sequence[Ask]) -> list[Choice] | None:
        """None when it was paused on the way."""
        assert self._minds is not None
        found: list[Choice] = []
        for start in range(0, len(asks), AT_ONCE):
            if project in self.paused:
                return None
            found += await self._minds.choose(brain, asks[start : start + AT_ONCE])
        return found

    async def _run(self, function: Callable[[], T]) -> T:
        return await self._work(function)  # type: ignore[return-value]
