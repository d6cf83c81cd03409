"""A small swarm in one process: scripted hosts, and a courier that carries every message through the real codec."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.council.canaries import Canary, CanarySet
from node.council.council import Council
from node.council.receipts import MemoryReceipts
from node.council.seams import Candidate
from node.testing import SimNetwork, World
from protocol.aggregate import Answer
from protocol.ballots import NO_NONCE, Question, Vote
from protocol.codec import decode_frame, encode
from protocol.errors import MootError, Refused, Unreachable
from protocol.identity import Credentials, Member, NodeId, describe_leaf
from protocol.messages import Frame, LinkMessage

Tamper = Callable[[LinkMessage], LinkMessage | Awaitable[LinkMessage]]


def canary_set(topics: Sequence[str] = ("colours", "sums"), each: int = 10) -> CanarySet:
    """Two-way canaries whose right answer alternates."""
    return CanarySet([
        Canary(f"{topic}-{number}", topic, f"{topic} question {number}?", ["yes", "no"], ["yes", "no"][number % 2])
        for topic in topics
        for number in range(each)
    ])  # fmt: skip


def logprobs(*probabilities: float) -> list[float]:
    total = math.fsum(probabilities)
    return [math.log(p / total) for p in probabilities]


def vote_on(question: Question, agent_id: bytes, answer: Answer, sure: float = 0.9) -> Vote:
    """A vote with this answer; None: no opinion."""
    chances: list[float] = []
    if question.kind in ("choice", "boolean") and answer is not None:
        names = question.choices if question.kind == "choice" else [False, True]
        chances = logprobs(*(sure if name == answer else (1 - sure) / (len(names) - 1) for name in names))
    number = float(answer) if question.kind == "number" and isinstance(answer, (int, float)) else None
    text = answer if question.kind == "text" and isinstance(answer, str) else ""
    vector = list(answer) if isinstance(answer, list) else []
    return Vote(agent_id, "scripted", "scripted", "0" * 8, chances, number, text, vector, 1.0, NO_NONCE)


@dataclass
class ScriptedHost:
    """Agents that answer from a script."""

    script: dict[bytes, Answer | list[float]]
    canaries: CanarySet
    sure: float = 0.9
    skilled: Callable[[Canary], bool] = lambda canary: True
    """Which canaries its agents get right."""
    measured: bool = True
    delay: float = 0.0
    mend: Callable[[Vote], Vote] = lambda vote: vote
    """Applied to each vote: how a test makes a bad one."""
    questions: list[Question] = field(default_factory=list)
    ratings: list[tuple[bytes, float, Answer]] = field(default_factory=list)
    lessons: list[tuple[Answer, float]] = field(default_factory=list)

    async def vote(self, question: Question, agent_ids: Sequence[bytes], timeout: float) -> tuple[list[Vote], dict[bytes, str]]:
        self.questions.append(question)
        if self.delay:
            await asyncio.sleep(self.delay)
        here = [agent for agent in agent_ids if agent in self.script]
        votes = [self.mend(vote_on(question, agent, self.script[agent], self.sure)) for agent in here]
        return votes, {agent: "no such agent" for agent in agent_ids if agent not in self.script}

    async def canary_votes(self, agent_ids: Sequence[bytes]) -> dict[bytes, list[list[float]]]:
        if not self.measured:
            return {}
        votes = []
        for canary in self.canaries.canaries:
            right = canary.right if self.skilled(canary) else 1 - canary.right
            votes.append(logprobs(*(self.sure if index == right else 1 - self.sure for index in range(2))))
        return {agent: votes for agent in agent_ids if agent in self.script}

    async def rate(self, agent_ids: Sequence[bytes], score: float, correct: Answer, question_id: bytes, rater: bytes = b"") -> int:
        here = [agent for agent in agent_ids if agent in self.script]
        self.ratings += [(agent, score, correct) for agent in here]
        return len(here)

    async def answer_rated(self, question_id: bytes, answer: Answer, score: float, rater: bytes) -> int:
        self.lessons.append((answer, score))
        return 0


class Topics:
    """Recognises a canary topic by its name in the question."""

    def __init__(self, canaries: CanarySet) -> None:
        self._names = list(canaries.topics)

    def infer(self, question: str, choices: Sequence[str]) -> str | None:
        return next((name for name in self._names if name in question), None)


class Post:
    """Carries requests between nodes; may lose, delay or change them."""

    def __init__(self) -> None:
        self.boxes: dict[NodeId, Mailbox] = {}
        self.dead: set[NodeId] = set()
        self.hung: set[NodeId] = set()
        self.tamper: dict[tuple[NodeId, type[Any]], Tamper] = {}
        """What becomes of a node's answer of a type."""
        self.carried: list[tuple[NodeId, NodeId, LinkMessage]] = []

    async def carry(self, source: Member, target: NodeId, message: LinkMessage) -> LinkMessage:
        if target in self.dead:
            raise Unreachable("the link was lost")
        if target in self.hung:
            await asyncio.Event().wait()
        body = decode_frame(encode(Frame(1, 0, message))).body
        self.carried.append((source.node_id, target, body))
        try:
            answer: LinkMessage = await self.boxes[target].handlers[type(body)](source, body)
        except MootError as error:
            raise Refused(type(error).__name__, str(error)) from error
        change = self.tamper.get((target, type(answer)))
        if change is not None:
            changed = change(answer)
            answer = await changed if isinstance(changed, Awaitable) else changed
        return decode_frame(encode(Frame(0, 1, answer))).body


class Mailbox:
    """One node's courier."""

    def __init__(self, post: Post, me: Member) -> None:
        self._post = post
        self._me = me
        self.handlers: dict[type[Any], Callable[[Member, Any], Awaitable[Any]]] = {}
        post.boxes[me.node_id] = self

    def on(self, message_type: type[Any], handler: Callable[[Member, Any], Awaitable[Any]]) -> None:
        self.handlers[message_type] = handler

    async def request(self, node_id: NodeId, message: LinkMessage, timeout: float) -> LinkMessage:
        try:
            async with asyncio.timeout(timeout):
                return await self._post.carry(self._me, node_id, message)
        except TimeoutError as error:
            raise Unreachable(f"no answer within {timeout:.1f} s") from error


class Swarm:
    """Nodes, their agents, and who knows of whom: everybody of everybody."""

    def __init__(self, clock: Callable[[], float], seed: int = 1, canaries: CanarySet | None = None) -> None:
        self.world = World(seed, clock, SimNetwork(seed))
        self.post = Post()
        self.canaries = canaries or canary_set()
        self.nodes: list[Node] = []

    def add(self, *answers: Answer, kinds: Sequence[str] = ("choice", "boolean"), brain: str = "scripted", dim: int = 0) -> Node:
        """A node whose agents answer these."""
        node = Node(self, f"node{len(self.nodes)}", answers, kinds, brain, dim)
        self.nodes.append(node)
        return node

    def candidates(self, kind: str, embedding_dim: int) -> list[Candidate]:
        able = [c for node in self.nodes if kind in node.kinds for c in node.candidates]
        return [c for c in able if kind != "embedding" or embedding_dim in (0, c.embedding_dim)]

    def alive(self, node_id: NodeId) -> bool:
        return node_id not in self.post.dead


class Node:
    """One node of a `Swarm`."""

    def __init__(self, swarm: Swarm, name: str, answers: Sequence[Answer], kinds: Sequence[str], brain: str, dim: int) -> None:
        self.name = name
        self.kinds = kinds
        self.credentials: Credentials = swarm.world.credentials(name)
        self.member = describe_leaf(self.credentials.leaf)
        self.agents = [swarm.world.runtime_of(f"{name} agents").token_bytes(19) + bytes([number]) for number in range(len(answers))]
        self.host = ScriptedHost(dict(zip(self.agents, answers, strict=True)), swarm.canaries)
        self.candidates = [Candidate(agent, self.id, brain, brain, 0.5, 0, b"", dim) for agent in self.agents]
        self.receipts = MemoryReceipts()
        self.runtime = swarm.world.runtime_of(name)
        self.mailbox = Mailbox(swarm.post, self.member)
        topics = Topics(swarm.canaries)
        self.council = Council(
            self.runtime, lambda: self.credentials, self.mailbox, self.host, swarm, self.receipts, topics, swarm.canaries
        )
        self.council.register()

    @property
    def id(self) -> NodeId:
        return self.credentials.node_id
