"""Asking a guest: what it should read, its few-shot votes, and what the panel makes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from node.brains.base import Ask, Choice

if TYPE_CHECKING:
    from node.label.bench import Bench

T = TypeVar("T")
Choose = Callable[[Sequence[Ask]], Awaitable[list[Choice]]]
"""A brain's `choose`, in its own worker."""
Work = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs blocking work where the project's learners live."""
TURNS = 2
"""A guest is measured first; only then, and only if it helps, does it read rows of the pile."""


async def invite(bench: Bench, brain: str, labels: Sequence[str], choose: Choose, work: Work[object], seed: int) -> bool:
    """Let the brain read what it should read now; whether it read anything. Call it after each `measure`.

    Raises `Conflict` when corrections came meanwhile (ask again after the next), and what `choose` raises.
    """
    from node.label.fewshot import round_of

    read = False
    for _ in range(TURNS):
        wish = bench.wish(brain)
        if wish is None:
            break
        asked = round_of(wish, labels, brain, seed)
        votes = asked.votes(await choose(asked.asks), len(wish.texts))
        await work(lambda wish=wish, votes=votes: bench.hear(brain, wish, votes))  # type: ignore[misc]
        read = True
    return read
