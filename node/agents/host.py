"""The agents of this node as the rest of the node sees them: asked, measured, rated, listed.

Each brain has a worker (`node.agents.worker`); whatever its agents are asked in one tick is one call. A vote counts as an interaction.
A brain that cannot be loaded is `failed` with its reason, and the others go on.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from node.agents.agent import Agent, born
from node.agents.answers import ask_of, choices_of, opinions, vote_of, why_not
from node.agents.book import AgentBook
from node.agents.canaries import logprobs_of
from node.agents.capacity import Capacity, capacity_of, cores, free_memory
from node.agents.describe import agent_info, brain_info, summary
from node.agents.feedback import Feedback
from node.agents.measurer import MeasurementFiles, Measurer
from node.agents.notebook import Notebook
from node.agents.novelty import note_novelty
from node.agents.population import OnEvent, Population
from node.agents.raters import Raters
from node.agents.selection import Selection, least_fit
from node.agents.worker import BrainWorker, Progress
from node.brains.base import Ask, Example
from node.brains.examples import pick
from node.brains.registry import Team
from node.runtime import Runtime
from protocol.aggregate import Answer
from protocol.api.agents import AgentInfo
from protocol.api.nodes import BrainInfo
from protocol.ballots import MAX_REASON, Question, Vote, vote_fault
from protocol.errors import UserError
from protocol.identity import NodeId, NodeKey
from protocol.messages import AgentSummary

MEASURE_S = 60.0
"""How often capacity is worked out anew."""
NO_AGENT = "no such agent lives on this node"


class Topics(Protocol):
    """Recognises what a question is about (`protocol.topics.TopicModel`)."""

    def infer(self, question: str, choices: Sequence[str]) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the host tells others, and where it keeps measurements."""

    on_event: OnEvent = lambda kind, data: None
    on_change: Callable[[], None] = lambda: None
    """Something in `summaries` or `room` changed."""
    on_progress: Progress = lambda brain, what, fraction: None
    cache_dir: Path | None = None
    """Folder for canary measurements, which daemons of one machine may share; None: measure anew every time."""
    selection: Selection = least_fit
    """Who dies when a child needs room."""
    key: NodeKey | None = None
    """Signs the descent of agents conceived here; without it nobody's descent is recorded or asked for."""


class AgentHost:
    """Owns brains and agents. `run` it in the daemon's TaskGroup; `ready` is set once every brain is loaded or failed."""

    def __init__(
        self,
        runtime: Runtime,
        me: NodeId,
        book: AgentBook,
        teams: Sequence[Team],
        topics: Topics,
        canaries: Sequence[Example],
        *,
        capacity: int | None,
        genesis: bytes = b"",
        surroundings: Surroundings | None = None,
    ) -> None:
        """`capacity`: most agents; None: as many as memory, cores and brains allow (`capacity.py`). `genesis` seeds the first generation
        (default: this node's id). Equal seeds give equal genomes, so that a machine that founds a node again under the same name finds
        its measurements on disk."""
        around = surroundings or Surroundings()
        self._runtime = runtime
        self._me = self.me = me
        self.key = around.key
        self._topics = topics
        self._canaries = tuple(canaries)
        self._genesis = genesis or me
        self._teams = {team.brain.name: team for team in teams}
        self._workers = {team.brain.name: BrainWorker(runtime, team.brain, around.on_progress) for team in teams}
        self._files = MeasurementFiles(around.cache_dir / "canaries") if around.cache_dir is not None else None
        self._measurers: dict[str, Measurer] = {}
        self._settled: set[str] = set()
        self.capacity = Capacity(capacity, "as configured") if capacity is not None else Capacity(0, "not measured yet")
        self._measures_capacity = capacity is None
        self._measure_capacity()
        self.population = Population(
            runtime, me, book, self.capacity.agents, around.on_event, around.on_change, around.selection, around.key
        )  # fmt: skip
        self.raters = Raters(me)
        self._notebook = Notebook(book, self.raters, self._workers.values)
        self._feedback = Feedback(self.population, self.worker, self._learnt, self.raters, runtime.now)
        self.on_interaction: Callable[[Agent], None] = lambda agent: None
        """Called after each vote; replication sets it."""
        self.ready = asyncio.Event()

    # ---- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load, answer and measure until cancelled. Raises `NotAvailable` when the book cannot be read."""
        await self.population.open()
        await self._notebook.open()
        self._settle(None)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.population.behind.run(), name="agents: book")
                group.create_task(self._keep_capacity(), name="agents: capacity")
                group.create_task(self._notebook.behind.run(), name="agents: notebook")
                for worker in self._workers.values():
                    group.create_task(self._live(worker), name=f"agents: {worker.brain.name}")
        finally:
            await self.population.behind.close()
            await self._notebook.behind.close()
            for worker in self._workers.values():
                worker.close()

    def _measure_capacity(self) -> None:
        if self._measures_capacity:
            schemas = [worker.brain.schema() for worker in self._workers.values() if worker.state == "ready"]
            largest = max((sum(4 * math.prod(spec.shape) for spec in schema.values()) for schema in schemas), default=0)
            slowest = max((worker.item_s for worker in self._workers.values()), default=0.0)
            self.capacity = capacity_of(free_memory(), cores(), largest, slowest)

    async def _keep_capacity(self) -> None:
        """Room follows the machine, unless it was configured; agents that live here stay."""
        while self._measures_capacity:
            await asyncio.sleep(MEASURE_S)
            self._measure_capacity()
            if self._measures_capacity:
                self.population.capacity = self.capacity.agents

    def close_doors(self) -> None:
        """Nobody comes to live here any more: the node leaves."""
        self._measures_capacity = False
        self.capacity = Capacity(0, "this node leaves the swarm")
        self.population.capacity = 0

    async def _live(self, worker: BrainWorker) -> None:
        """One brain from loading to the end."""
        await worker.load()
        if worker.state == "failed":
            self._settle(worker)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.serve())
            try:
                await self._populate(worker)
            except UserError as error:
                worker.fail(str(error))
            self._settle(worker)
            if worker.state == "ready":
                await self._measurers[worker.brain.name].run()

    def _settle(self, worker: BrainWorker | None) -> None:
        if worker is not None:
            self._settled.add(worker.brain.name)
        if self._settled == self._workers.keys():
            self.ready.set()

    async def _populate(self, worker: BrainWorker) -> None:
        """Bring back the agents of this brain and make as many new ones as are wanted and fit."""
        brain = worker.brain
        self._measurers[brain.name] = Measurer(
            self._runtime, worker, self._canaries, lambda: self.population.of(brain.name), self._canary_ask, self._files
        )
        self.population.revive(brain)
        await self._notebook.recall(worker)
        here = len(self.population.of(brain.name))
        for number in range(here, min(self._teams[brain.name].agents, here + self.population.room())):
            rng = random.Random(f"{self._genesis.hex()} {brain.name} {number}")
            genome = await worker.call(partial(brain.seed, rng))
            await self.population.adopt(born(genome, self._runtime.now(), self._me, self.key, self._runtime.token_bytes(16)))

    def worker(self, brain: str) -> BrainWorker | None:
        """The worker of a brain that is ready, or None."""
        worker = self._workers.get(brain)
        return worker if worker is not None and worker.state == "ready" else None

    def _learnt(self, brain: str) -> None:
        self._measurers[brain].wake()

    async def adopt(self, agent: Agent, *, came: bool = False) -> None:
        """An agent comes to live here: a child, or (`came`) one born long ago. Raises `NotAvailable`."""
        await self.population.adopt(agent, came=came)
        if (measurer := self._measurers.get(agent.brain)) is not None:
            measurer.wake()

    # ---- the council's side ---------------------------------------------------------------------------------------

    async def vote(self, question: Question, agent_ids: Sequence[bytes], timeout: float) -> tuple[list[Vote], dict[bytes, str]]:
        """The agents' votes, with empty nonces, and for each agent without a vote the reason. Takes at most `timeout` seconds."""
        missing: dict[bytes, str] = {}
        asked: dict[str, list[Agent]] = {}
        for agent_id in dict.fromkeys(agent_ids):
            agent = self.population.get(agent_id)
            reason = NO_AGENT if agent is None else self._why_not(agent, question)
            if agent is None or reason is not None:
                missing[agent_id] = (reason or NO_AGENT)[:MAX_REASON]
            else:
                asked.setdefault(agent.brain, []).append(agent)
        topic = self._topics.infer(question.text, choices_of(question)) if question.text else None
        async with asyncio.TaskGroup() as group:
            polls = [group.create_task(self._poll(self._workers[name], question, agents, topic, timeout)) for name, agents in asked.items()]
        votes: list[Vote] = []
        for poll in polls:
            given, reasons = poll.result()
            votes += given
            missing |= reasons
        return votes, missing

    async def canary_votes(self, agent_ids: Sequence[bytes]) -> dict[bytes, list[list[float]]]:
        """Per agent that is measured: its log-probabilities on each canary, as it would vote (empty: no opinion)."""
        votes: dict[bytes, list[list[float]]] = {}
        for agent_id in agent_ids:
            agent = self.population.get(agent_id)
            if agent is not None and agent.measured is not None:
                votes[agent_id] = [
                    list(logprobs_of(choice, self._topic_of(canary), agent.measured))
                    for choice, canary in zip(agent.measured.choices, self._canaries, strict=True)
                ]
        return votes

    async def rate(self, agent_ids: Sequence[bytes], score: float, correct: Answer, question_id: bytes, rater: bytes = b"") -> int:
        """A person's rating in [0, 1] moves the fitness of those that live here; returns how many there were.

        With the right answer, and while the question is remembered, agents whose brain learns are taught.
        """
        rated = await self._feedback.rate(agent_ids, score, correct, question_id, rater)
        self._notebook.behind.wake()
        return rated

    async def answer_rated(self, question_id: bytes, answer: Answer, score: float, rater: bytes) -> int:
        """A person's rating in [0, 1] of the council's answer; agents of this node that were asked and can learn from it do."""
        taught = await self._feedback.answer_rated(question_id, answer, score, rater)
        self._notebook.behind.wake()
        return taught

    async def _poll(
        self, worker: BrainWorker, question: Question, agents: Sequence[Agent], topic: str | None, timeout: float
    ) -> tuple[list[Vote], dict[bytes, str]]:
        """Ask one brain for all of its agents."""
        started = self._runtime.monotonic()
        asks = [ask_of(question, agent, self._examples(agent, topic)) for agent in agents]
        try:
            async with asyncio.timeout(timeout):
                found = await opinions(worker, question, asks)
        except TimeoutError:
            return [], dict.fromkeys((agent.agent_id for agent in agents), f"{worker.brain.name} took longer than {timeout:.1f} s")
        except UserError as error:
            return [], dict.fromkeys((agent.agent_id for agent in agents), str(error)[:MAX_REASON])
        ms = (self._runtime.monotonic() - started) * 1000
        note_novelty(agents, [opinion.choice.logprobs if opinion.choice is not None else () for opinion in found])
        votes: list[Vote] = []
        missing: dict[bytes, str] = {}
        for agent, ask, opinion in zip(agents, asks, found, strict=True):
            logprobs = logprobs_of(opinion.choice, topic, agent.measured) if opinion.choice is not None else ()
            vote = vote_of(agent, worker.brain, opinion, logprobs, ms)
            if (fault := vote_fault(question, vote)) is not None:
                missing[agent.agent_id] = f"{worker.brain.name} gave no usable vote: {fault}"[:MAX_REASON]
                continue
            votes.append(vote)
            if opinion.vector is not None:
                agent.evolve(worker.brain.remember(agent.genome, opinion.vector))
            self._feedback.remember(question, agent, ask, topic, logprobs)
            self._count(agent)
        return votes, missing

    def _count(self, agent: Agent) -> None:
        """One more interaction."""
        agent.interactions += 1
        agent.since_division += 1
        self.population.touch(agent)
        self.on_interaction(agent)

    def _why_not(self, agent: Agent, question: Question) -> str | None:
        worker = self._workers[agent.brain]
        if worker.state != "ready":
            return f"{agent.brain} is {worker.state}: {worker.detail}"
        return why_not(worker.brain, question)

    def _examples(self, agent: Agent, topic: str | None) -> tuple[Example, ...]:
        ids = agent.genome.settings.get("examples")
        return pick([name for name in ids if isinstance(name, str)], topic) if isinstance(ids, list) else ()

    def _topic_of(self, canary: Example) -> str | None:
        return self._topics.infer(canary.question, canary.choices)

    def _canary_ask(self, agent: Agent, canary: Example) -> Ask:
        return Ask(agent.genome, canary.question, canary.choices, examples=self._examples(agent, self._topic_of(canary)))

    # ---- what is here ---------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more children this node would host: what it announces. None without a brain that divides."""
        divides = any(worker.state == "ready" and worker.brain.capabilities.divides for worker in self._workers.values())
        return self.population.room() if divides else 0

    def summaries(self) -> list[AgentSummary]:
        """The agents that can be asked, as the node announces them."""
        return [summary(agent, worker.brain) for agent in self.population.all() if (worker := self.worker(agent.brain)) is not None]

    def agent_infos(self) -> list[AgentInfo]:
        """Every agent of this node for the HTTP API, oldest first."""
        agents = sorted(self.population.all(), key=lambda agent: (agent.born_at, agent.agent_id))
        return [agent_info(agent, self._me) for agent in agents]

    def measured(self) -> int:
        """How many agents of this node have answered the canaries."""
        return sum(agent.measured is not None for agent in self.population.all())

    def brain_infos(self) -> list[BrainInfo]:
        """Every brain of this node, also one that loads or failed."""
        return [brain_info(worker) for worker in self._workers.values()]
