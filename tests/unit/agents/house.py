"""A host of agents for tests: scripted brains, a book in memory, topics by first word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from node.agents.agent import Agent
from node.agents.host import AgentHost, Surroundings
from node.brains.base import Brain, Example
from node.brains.registry import Team
from node.runtime import Runtime
from node.testing import World, simulate
from node.testing.book import MemoryBook
from node.testing.brain import ScriptedBrain
from protocol.ballots import Question
from protocol.identity import NodeId

T = TypeVar("T")
ME = NodeId(b"a node of these tests")


class FirstWord:
    """The topic of a question is its first word, where that is a known one."""

    def infer(self, question: str, choices: Sequence[str]) -> str | None:
        word = question.split(" ")[0]
        return word if word in ("mood", "sums") else None


CANARIES = tuple(
    Example(topic, f"{topic} {number}", ("a", "b"), "ab"[number % 2]) for topic in ("mood", "sums") for number in range(6)
)  # fmt: skip


def host(
    runtime: Runtime,
    *brains: Brain,
    book: MemoryBook | None = None,
    agents: int = 3,
    capacity: int | None = 16,
    canaries: Sequence[Example] = CANARIES,
    surroundings: Surroundings | None = None,
    me: NodeId = ME,
) -> AgentHost:
    """A host with `agents` agents of each brain (default: one scripted brain)."""
    teams = [Team(brain, agents) for brain in (brains or (ScriptedBrain(),))]
    return AgentHost(runtime, me, book or MemoryBook(), teams, FirstWord(), canaries, capacity=capacity, surroundings=surroundings)


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These run for ever within the block; what fails in them fails the test."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result


@asynccontextmanager
async def living(agent_host: AgentHost) -> AsyncIterator[list[Agent]]:
    """The host runs and is ready; gives its agents."""
    async with running(agent_host.run()):
        await agent_host.ready.wait()
        yield agent_host.population.all()


def simulated(main: Callable[[Runtime], Awaitable[T]], seed: int = 1) -> T:
    """Run in virtual time."""

    async def run(world: World) -> T:
        return await main(world.runtime)

    return simulate(seed, run)


def question(kind: str = "choice", text: str = "Which?", choices: Sequence[str] = ("a", "b"), number: int = 1) -> Question:
    embedding = [0.5] * 4 if kind == "embedding" else []
    return Question(
        number.to_bytes(20, "big"), kind, "" if embedding else text, list(choices) if kind == "choice" else [], embedding, "", 0.0
    )
