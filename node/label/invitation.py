"""Asking the guests of a project: what to read, their votes, what the panel makes of them. In the background, a few questions at a time.

Guests are asked on the node that hosts their brain, for the learners of that node: labels of two nodes may differ on the few rows that
a guest of one of them read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import structlog

from node.brains.base import Ask, Choice
from node.label.around import Minds
from protocol.errors import LocalError, UserError

if TYPE_CHECKING:
    from node.label.bench import Bench

T = TypeVar("T")
Work = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs blocking work where the project's learners live."""
TURNS = 3
"""A guest is tried first; only then, and only if it helps, does it read rows of the pile; corrections that came meanwhile may ask for
another trial."""
AT_ONCE = 4
"""Questions of one call: so long at most waits whoever needs the brain."""
READ_S = 600.0
"""For all that a guest is to read at one time. What takes longer is given up until the next trial is due."""

log = structlog.get_logger("labelling")


class Invitations:
    """Which projects' guests are being asked, and which are paused."""

    def __init__(self, minds: Minds | None, work: Work[object]) -> None:
        self._minds = minds
        self._work = work
        self._under_way: set[str] = set()
        self.paused: set[str] = set()

    async def invite(self, project: str, bench: Bench, labels: Sequence[str], *, local: bool) -> None:
        """Let every brain here read what it should read now; a brain that fails costs its own votes only."""
        if self._minds is None or project in self._under_way:
            return
        self._under_way.add(project)
        try:
            for brain in self._minds.names(local=local):
                await self._ask(project, bench, brain, labels)
        finally:
            self._under_way.discard(project)

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
                await self._run(lambda: bench.guests.give_up(brain))
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
