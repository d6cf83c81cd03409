"""Agents of a few nodes that answer one stream of handwritten digits together and learn from "right" and "wrong" alone.

The nodes' agent hosts are the real ones, in virtual time; votes are pooled by the council's own arithmetic. Links, commitments and
receipts are left out: they decide when an answer comes, not what it is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from node.agents.host import AgentHost, Surroundings
from node.agents.replication import Replicator
from node.agents.selection import Selection, least_fit
from node.brains.base import Brain
from node.brains.embedder import HashedEmbedder
from node.brains.head import HeadBrain
from node.brains.registry import Team
from node.testing import World, simulate, tasks_until_left
from node.testing.book import MemoryBook
from protocol.aggregate import Answer, Tally, aggregate
from protocol.ballots import Question, Vote
from protocol.identity import Member, NodeId
from protocol.messages import LinkMessage

TRAIN, HELD_OUT = 1_200, 597
CHOICES = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits in an order of this seed."""

    inputs: list[list[float]]
    labels: list[str]


def digits(seed: int) -> Digits:
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    return Digits(inputs[order].tolist(), [str(label) for label in labels[order]])


class NoTopics:
    def infer(self, question: str, choices: object) -> str | None:
        return None


M = TypeVar("M")


class Nobody:
    """A courier without anybody to write to: divisions happen at home."""

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        raise AssertionError("nobody is there")

    async def send(self, node_id: NodeId, message: LinkMessage) -> None: ...

    def on(self, message_type: type[M], handler: Callable[[Member, M], Awaitable[LinkMessage | None]]) -> None: ...


@dataclass
class Class:
    """The nodes of one simulated swarm, and the raters of its answers."""

    world: World
    panel: int | None = None
    """How many agents, drawn afresh from the whole population, are asked a question; None: all of them."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    """Draws the panels."""
    hosts: list[AgentHost] = field(default_factory=list)
    asked: int = 0

    async def ask(self, inputs: Sequence[float]) -> tuple[Question, Tally, list[Vote]]:
        """One question to the panel."""
        self.asked += 1
        question = Question(self.asked.to_bytes(20, "big"), "choice", "", CHOICES, list(inputs), "", 0.0)
        votes: list[Vote] = []
        drawn = self._drawn()
        for host in self.hosts:
            here = [agent.agent_id for agent in host.population.all() if drawn is None or agent.agent_id in drawn]
            if not here:
                continue
            given, missing = await host.vote(question, here, 60.0)
            assert not missing, missing
            votes += given
        return question, aggregate(question, votes, [1.0] * len(votes)), votes

    def _drawn(self) -> set[bytes] | None:
        if self.panel is None:
            return None
        everybody = [agent.agent_id for host in self.hosts for agent in host.population.all()]
        return set(self.rng.sample(everybody, self.panel))

    async def rate(self, question: Question, tally: Tally, votes: Sequence[Vote], score: float, rater: bytes) -> None:
        """What the council does with a score (`node.council.feedback.rate`): agents by their own answer, lessons for all."""
        agree = {vote.agent_id for vote, own in zip(votes, tally.opinions, strict=True) if own.agrees}
        dissent = {vote.agent_id for vote, own in zip(votes, tally.opinions, strict=True) if own.answer is not None and not own.agrees}
        for host in self.hosts:
            here = [agent.agent_id for agent in host.population.all()]
            await host.rate([one for one in here if one in agree], score, None, question.id, rater)
            if score >= 0.5:
                await host.rate([one for one in here if one in dissent], 1.0 - score, None, question.id, rater)
            await host.answer_rated(question.id, tally.leading, score, rater)


Main = Callable[[Class], Awaitable[dict[str, float]]]


def lesson(
    seed: int,
    main: Main,
    *,
    nodes: int = 3,
    agents: int = 4,
    brain: Callable[[], Brain] = lambda: HeadBrain(embedder=HashedEmbedder),
    threshold: int | None = None,
    selection: Selection = least_fit,
    panel: int | None = None,
) -> dict[str, float]:
    """Run `main` with hosts of `agents` agents each, full from the start; with `threshold`, agents divide and others die for them.

    With `panel` only so many agents are asked a question, drawn afresh.
    """

    result: dict[str, float] = {}

    async def run(world: World) -> None:
        async with tasks_until_left() as tasks:
            swarm = Class(world, panel, random.Random(seed))
            for number in range(nodes):
                runtime, me = world.runtime_of(f"n{number}"), world.credentials(f"n{number}").node_id
                around = Surroundings(selection=selection, key=world.credentials(f"n{number}").key)
                team = Team(brain(), agents)
                host = AgentHost(runtime, me, MemoryBook(), [team], NoTopics(), (), capacity=agents, surroundings=around)
                tasks.create_task(host.run())
                await host.ready.wait()
                if threshold is not None:
                    replicator = Replicator(runtime, me, host, Nobody(), list, threshold=threshold, births_per_minute=1_000)
                    tasks.create_task(replicator.run())
                swarm.hosts.append(host)
            result.update(await main(swarm))

    simulate(seed, run)
    return result


async def study(swarm: Class, data: Digits, questions: int, liars: float, seed: int, pause_s: float = 0.0) -> None:
    """The stream: each answer is rated by one of ten raters, of whom some always say the opposite of the truth."""
    rng = random.Random(seed)
    lying = set(rng.sample(range(10), round(10 * liars)))
    for inputs, label in zip(data.inputs[:questions], data.labels[:questions], strict=True):
        question, tally, votes = await swarm.ask(inputs)
        rater = rng.randrange(10)
        if tally.leading is not None:
            right = (tally.leading == label) != (rater in lying)
            await swarm.rate(question, tally, votes, float(right), b"rater %d" % rater)
        if pause_s:
            await asyncio.sleep(pause_s)


async def examine(swarm: Class, data: Digits) -> dict[str, float]:
    """Held out: consensus, best single agent and mean of the agents."""
    consensus: list[bool] = []
    singles: dict[bytes, list[bool]] = {}
    for inputs, label in zip(data.inputs[TRAIN:], data.labels[TRAIN:], strict=True):
        _, tally, votes = await swarm.ask(inputs)
        consensus.append(_is(tally.leading, label))
        for vote in votes:
            singles.setdefault(vote.agent_id, []).append(CHOICES[int(np.argmax(vote.logprobs))] == label)
    each = [float(np.mean(right)) for right in singles.values()]
    return {"consensus": float(np.mean(consensus)), "best_agent": max(each), "mean_agent": float(np.mean(each))}


def _is(answer: Answer, label: str) -> bool:
    return answer == label
