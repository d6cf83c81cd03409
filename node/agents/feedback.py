"""What a person's rating does to the agents that answered: their fitness moves, and those that can learn do.

The council judges each agent by its own answer and passes on the score it deserves.
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
    asks: dict[bytes, Ask] = field(default_factory=dict)


class Feedback:
    """Remembers the last questions, moves fitness and teaches."""

    def __init__(self, population: Population, worker: Callable[[str], BrainWorker | None], on_learnt: Callable[[str], None]) -> None:
        """`on_learnt(brain)` after agents of a brain took a lesson."""
        self._population = population
        self._worker = worker
        self._on_learnt = on_learnt
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()
        self._learning = asyncio.Lock()

    def remember(self, question: Question, agent: Agent, ask: Ask) -> None:
        """Keep what an agent was asked, for the rating that may come."""
        self._asked.setdefault(question.id, _Asked(question)).asks[agent.agent_id] = ask
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)

    async def rate(self, agent_ids: Sequence[bytes], score: float, correct: Answer, question_id: bytes) -> int:
        """As `AgentHost.rate`."""
        agents = [agent for agent_id in dict.fromkeys(agent_ids) if (agent := self._population.get(agent_id)) is not None]
        for agent in agents:
            agent.fitness = agent.fitness.rated(score)
            self._population.touch(agent)
        asked = self._asked.get(question_id)
        target = target_of(asked.question, correct) if asked is not None else None
        if asked is not None and target is not None:
            await self._teach([agent for agent in agents if agent.agent_id in asked.asks], asked, target)
        return len(agents)

    async def _teach(self, agents: Sequence[Agent], asked: _Asked, target: Target) -> None:
        """Agents of brains that learn take the lesson; one lesson at a time, so that none is lost."""
        for name in dict.fromkeys(agent.brain for agent in agents):
            worker = self._worker(name)
            if worker is None or not worker.brain.capabilities.learns:
                continue
            pupils = [agent for agent in agents if agent.brain == name]
            try:
                async with asyncio.timeout(LEARN_S), self._learning:
                    lessons = [Lesson(replace(asked.asks[pupil.agent_id], genome=pupil.genome), target) for pupil in pupils]
                    genomes = await worker.submit("learn", worker.brain.learn, lessons)
                    for pupil, genome in zip(pupils, genomes, strict=True):
                        pupil.learnt(genome)
                        self._population.touch(pupil)
            except (TimeoutError, UserError) as error:
                log.warning("a lesson was not learnt", brain=name, reason=str(error) or "too slow")
            self._on_learnt(name)
