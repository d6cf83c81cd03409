"""What a person's rating does to the agents that answered: their fitness moves, and those that can learn do.

The council judges each agent by its own answer and passes on the score it deserves (`rate`). It also says how right the answer of the
council was (`answer_rated`): every agent that was asked can learn from that, whatever it said itself, and nobody needs to know the
right answer. How much a rating counts is for `raters` to say.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from node.agents.agent import Agent
from node.agents.answers import BOOLEAN
from node.agents.population import Population
from node.agents.raters import Raters
from node.agents.worker import BrainWorker
from node.brains.base import Ask, Lesson
from protocol.aggregate import Answer
from protocol.ballots import MAX_COMPONENT, Question
from protocol.errors import UserError

REMEMBERED = 128
"""Questions kept for the feedback that may come."""
LEARN_S = 10.0

Target = int | tuple[float, ...]
"""The right answer as a brain learns it: an index into the choices, or a vector."""
log = structlog.get_logger("agents")


def target_of(question: Question, correct: Answer) -> Target | None:
    """None when there is no right answer given, or none that this kind of question can be taught."""
    if question.kind == "choice" and isinstance(correct, str) and correct in question.choices:
        return question.choices.index(correct)
    if question.kind == "boolean":
        if isinstance(correct, bool):
            return int(correct)
        if isinstance(correct, str) and correct.strip().lower() in BOOLEAN:
            return BOOLEAN.index(correct.strip().lower())
    if question.kind == "embedding" and isinstance(correct, list) and len(correct) == len(question.embedding):
        vector = tuple(map(float, correct))
        return vector if all(math.isfinite(value) and abs(value) <= MAX_COMPONENT for value in vector) else None
    return None


@dataclass(slots=True)
class _Asked:
    """A question as it was put to the agents."""

    question: Question
    topic: str | None = None
    asks: dict[bytes, Ask] = field(default_factory=dict)
    logprobs: dict[bytes, Sequence[float]] = field(default_factory=dict)
    """What each agent answered, where it chose."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a rater said: how right this answer is."""

    target: Target
    score: float
    rater: bytes

    def lesson(self, ask: Ask, raters: Raters) -> Lesson:
        return Lesson(ask, self.target, self.score, self.rater, raters.believed)


class Feedback:
    """Remembers the last questions, moves fitness and teaches."""

    def __init__(
        self,
        population: Population,
        worker: Callable[[str], BrainWorker | None],
        on_learnt: Callable[[str], None],
        raters: Raters,
        now: Callable[[], float],
    ) -> None:
        """`on_learnt(brain)` after agents of a brain took a lesson; `now` is the wall clock."""
        self._raters = raters
        self._now = now
        self._population = population
        self._worker = worker
        self._on_learnt = on_learnt
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()
        self._learning = asyncio.Lock()

    def remember(self, question: Question, agent: Agent, ask: Ask, topic: str | None, logprobs: Sequence[float]) -> None:
        """Keep what an agent was asked and what it chose, for the rating that may come."""
        asked = self._asked.setdefault(question.id, _Asked(question, topic))
        asked.asks[agent.agent_id] = ask
        asked.logprobs[agent.agent_id] = logprobs
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)

    async def rate(self, agent_ids: Sequence[bytes], score: float, correct: Answer, question_id: bytes, rater: bytes) -> int:
        """As `AgentHost.rate`."""
        asked, now = self._asked.get(question_id), self._now()
        weight = self._raters.weight(rater, now)
        agents = [agent for agent_id in dict.fromkeys(agent_ids) if (agent := self._population.get(agent_id)) is not None]
        for agent in agents:
            agent.fitness = agent.fitness.rated(score, weight=weight, topic=asked.topic if asked is not None else None, now=now)
            self._population.touch(agent)
        target = target_of(asked.question, correct) if asked is not None else None
        if asked is not None and target is not None:
            await self._teach([agent for agent in agents if agent.agent_id in asked.asks], asked, _Said(target, 1.0, rater))
        return len(agents)

    async def answer_rated(self, question_id: bytes, answer: Answer, score: float, rater: bytes) -> int:
        """As `AgentHost.answer_rated`."""
        asked = self._asked.get(question_id)
        target = target_of(asked.question, answer) if asked is not None else None
        if asked is None or target is None:
            return 0
        if isinstance(target, int) and (chances := [math.exp(said[target]) for said in asked.logprobs.values() if len(said) > target]):
            self._raters.heard(rater, score, sum(chances) / len(chances))
        agents = [agent for agent_id in asked.asks if (agent := self._population.get(agent_id)) is not None]
        await self._teach(agents, asked, _Said(target, score, rater))
        return len(agents)

    async def _teach(self, agents: Sequence[Agent], asked: _Asked, said: _Said) -> None:
        """Agents of brains that learn take the lesson; one lesson at a time, so that none is lost."""
        for name in dict.fromkeys(agent.brain for agent in agents):
            worker = self._worker(name)
            if worker is None or not worker.brain.capabilities.learns:
                continue
            pupils = [agent for agent in agents if agent.brain == name]
            try:
                async with asyncio.timeout(LEARN_S), self._learning:
                    lessons = [said.lesson(replace(asked.asks[pupil.agent_id], genome=pupil.genome), self._raters) for pupil in pupils]
                    genomes = await worker.submit("learn", worker.brain.learn, lessons)
                    for pupil, genome in zip(pupils, genomes, strict=True):
                        pupil.learnt(genome)
                        self._population.touch(pupil)
            except (TimeoutError, UserError) as error:
                log.warning("a lesson was not learnt", brain=name, reason=str(error) or "too slow")
            self._on_learnt(name)
