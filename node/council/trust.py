"""How far a panel's certainty can be believed.

Each agent of a panel has answered the shipped canaries; its node tells us how. We pool them as we pool the votes of a question,
with leanings that other canaries taught (`protocol.leanings`), and fit the map from pooled probability to confidence
(`protocol.calibration`): one map a panel and its weights, the same for every question. Once the voters have answered enough hidden
canaries (`examiner`), those decide the map instead: anybody can read the shipped ones. What each vote weighs comes from the ledger,
and its leaning from all canaries with the question's choices (`seats`).

Canary answers are kept for one genome and asked for while the brains think, so they cost a question no time. They are what a node
says of its own agents, unsigned; a receipt carries the map as the convener's word.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from node.council.canaries import CanarySet
from node.council.ledger import Ledger
from node.council.seams import AgentHost, Candidate, Courier, TopicModel
from node.runtime import Runtime
from protocol.aggregate import log_odds
from protocol.ballots import Question, logprobs_fault
from protocol.calibration import UNCALIBRATED, Calibration, Step, fit
from protocol.errors import PeerError, Refused, UserError
from protocol.identity import Member, NodeId, show_id
from protocol.leanings import Mark, choices_key, cross_fitted, lean_of
from protocol.messages import CanaryCall, CanaryVotes
from protocol.receipts import Seat
from protocol.verdict import GRADABLE
from protocol.weights import groups

CALL_S = 5.0
RETRY_S = 2.0
"""An agent that is not measured yet is asked about again after this long."""
MAX_AGENTS = 2_048
MAX_MAPS = 256
ENOUGH = 0.5
"""Share of the voters that must be measured for a map to speak for them."""
ENOUGH_HIDDEN = 60
"""Hidden canaries from which on they, not the shipped ones, decide the map: as many as are shipped."""

K = TypeVar("K")
V = TypeVar("V")

Marks = dict[str, Mark]
"""One agent's answers by canary."""
AgentKey = tuple[bytes, bytes]
"""(agent, genome)"""

log = structlog.get_logger("council")


@dataclass(frozen=True, slots=True)
class _Map:
    """What the canaries say about one set of agents."""

    steps: list[Step]
    right: dict[str, int]
    """Canaries that the pooled panel got right, by topic."""


class Trust:
    """Canary answers of agents, and the maps fitted on them; both bounded, oldest out first."""

    def __init__(
        self,
        runtime: Runtime,
        courier: Courier,
        host: AgentHost,
        me: NodeId,
        canaries: CanarySet,
        topics: TopicModel,
        ledger: Ledger,
    ) -> None:
        self._runtime = runtime
        self._ledger = ledger
        self._courier = courier
        self._host = host
        self._me = me
        self._canaries = canaries
        self._topics = topics
        self._shown: OrderedDict[AgentKey, Marks] = OrderedDict()
        """Answers to the shipped canaries."""
        self._learnt = 0
        self._leans: OrderedDict[tuple[AgentKey, bytes], tuple[int, list[float]]] = OrderedDict()
        """By choices, with the version of the ledger that they were learnt from."""
        self._crowds: OrderedDict[tuple[AgentKey, ...], tuple[int, list[int], list[float]]] = OrderedDict()
        """Groups and correlations of a panel, with the version of the ledger."""
        self._topic_of: OrderedDict[bytes, str | None] = OrderedDict()
        """By question."""
        self._hidden_maps: OrderedDict[tuple[tuple[AgentKey, float], ...], tuple[int, Calibration | None]] = OrderedDict()
        self._asked: OrderedDict[AgentKey, float] = OrderedDict()
        self._maps: OrderedDict[tuple[tuple[AgentKey, float], ...], _Map] = OrderedDict()

    async def serve(self, peer: Member, call: CanaryCall) -> CanaryVotes:
        """Handler: how this node's agents answered the canaries. Raises `Refused`."""
        if call.canaries != self._canaries.digest:
            raise Refused("canaries", "this node ships other canary questions: update the older of the two")
        return CanaryVotes(await self._host.canary_votes(call.agents))

    async def measure(self, panel: Sequence[Candidate]) -> None:
        """Ask the nodes of these agents for the canary answers that we lack."""
        now = self._runtime.monotonic()
        wanted: dict[NodeId, list[Candidate]] = {}
        for candidate in panel:
            key = _key(candidate)
            if key not in self._shown and now - self._asked.get(key, -RETRY_S) >= RETRY_S:
                wanted.setdefault(candidate.node_id, []).append(candidate)
                _remember(self._asked, key, now, MAX_AGENTS)
        if not wanted and not self._ledger.stale([candidate.agent_id for candidate in panel]):
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ledger.hear([candidate.agent_id for candidate in panel]), name="ratings")
            for node_id, candidates in wanted.items():
                tasks.create_task(self._fetch(node_id, candidates), name="canaries")
        self._learnt += 1

    def topic(self, question: Question) -> str | None:
        """The topic of the shipped canaries that a question is like; found out once a question."""
        if question.id not in self._topic_of:
            found = self._topics.infer(question.text, question.choices or ["no", "yes"])
            _remember(self._topic_of, question.id, found, MAX_MAPS)
        return self._topic_of[question.id]

    @property
    def version(self) -> int:
        """Goes up with every canary answer, hidden or shipped, and whenever other raters were heard."""
        return self._ledger.version + self._learnt

    def seats(self, question: Question, panel: Sequence[Candidate]) -> tuple[int, list[Seat], list[float]]:
        """The panel with what is known of each agent, and by group how alike its members err; first the version it was known at."""
        key = choices_key(question.choices)
        topic = self._ledger.topic_of(key) or self.topic(question) or ""
        numbers, rho = self._groups(panel)
        seats = []
        for candidate, group in zip(panel, numbers, strict=True):
            known = self._ledger.evidence(candidate.agent_id, topic, max(2, len(question.choices)))
            lean = self._lean(candidate, key) if question.kind == "choice" else []
            seats.append(Seat(candidate.agent_id, candidate.node_id, known.good, known.bad, group, lean))
        return self.version, seats, rho or [0.0]

    def _groups(self, panel: Sequence[Candidate]) -> tuple[list[int], list[float]]:
        agents = tuple(map(_key, panel))
        version, numbers, rho = self._crowds.get(agents, (-1, [], []))
        if version != self._ledger.version:
            numbers, rho = groups([c.brain for c in panel], [self._ledger.hits(c.agent_id) for c in panel])
            _remember(self._crowds, agents, (self._ledger.version, numbers, rho), MAX_MAPS)
        return numbers, rho

    def _lean(self, candidate: Candidate, choices: bytes) -> list[float]:
        """From hidden and shipped canaries with these choices."""
        key = _key(candidate), choices
        version, lean = self._leans.get(key, (-1, []))
        if version != self._ledger.version:
            marks = {**self._shown.get(key[0], {}), **self._ledger.marks(candidate.agent_id)}
            lean = lean_of(mark for mark in marks.values() if mark.choices == choices)
            _remember(self._leans, key, (self._ledger.version, lean), MAX_AGENTS)
        return lean

    def calibrate(self, question: Question, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration:
        """The map for those who voted with these weights, and what the canaries say about the question's topic.

        Fitted on hidden canaries where the voters answered enough of them, else on the shipped ones.
        """
        return self._hidden(question, voters, weights) or self._shipped(question, voters, weights)

    def _hidden(self, question: Question, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration | None:
        """From canaries that nobody could know; None where too few of them were answered by most of these voters."""
        if question.kind not in GRADABLE or self._ledger.version == 0:
            return None
        key = tuple((_key(candidate), weight) for candidate, weight in zip(voters, weights, strict=True))
        version, found = self._hidden_maps.get(key, (-1, None))
        if version != self._ledger.version:
            found = self._fit_hidden(voters, weights)
            _remember(self._hidden_maps, key, (self._ledger.version, found), MAX_MAPS)
        return found

    def _fit_hidden(self, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration | None:
        pairs = cross_fitted([self._ledger.marks(candidate.agent_id) for candidate in voters], weights, ENOUGH)
        if len(pairs) < ENOUGH_HIDDEN:
            return None
        digest = hashlib.sha256("\n".join(pairs).encode()).digest()
        return Calibration("isotonic", len(pairs), digest, len(voters), None, 0, 0, fit(pairs.values()))

    def _shipped(self, question: Question, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration:
        known_weight = {_key(candidate): weight for candidate, weight in zip(voters, weights, strict=True)}
        measured = [candidate for candidate in voters if _key(candidate) in self._shown]
        if question.embedding or question.kind not in GRADABLE or not measured or len(measured) < ENOUGH * len(voters):
            return UNCALIBRATED
        fitted = self._fitted(tuple(sorted((_key(candidate), known_weight[_key(candidate)]) for candidate in measured)))
        if not fitted.steps:
            return UNCALIBRATED
        topic = self.topic(question)
        known = topic if topic in self._canaries.topics else None
        return Calibration(
            method="isotonic",
            canaries=sum(step.count for step in fitted.steps),
            digest=self._canaries.digest,
            measured=len(measured),
            topic=known,
            topic_canaries=self._canaries.topics[known] if known is not None else 0,
            topic_right=fitted.right.get(known, 0) if known is not None else 0,
            steps=fitted.steps,
        )

    async def _fetch(self, node_id: NodeId, candidates: Sequence[Candidate]) -> None:
        agents = [candidate.agent_id for candidate in candidates]
        try:
            if node_id == self._me:
                votes = await self._host.canary_votes(agents)
            else:
                reply = await self._courier.request(node_id, CanaryCall(self._canaries.digest, agents), CALL_S)
                votes = reply.votes if isinstance(reply, CanaryVotes) else {}
        except (PeerError, UserError) as error:
            log.debug("no canary answers", node=show_id(node_id), reason=str(error))
            return
        for candidate in candidates:
            if candidate.agent_id in votes:
                self._learn(candidate, votes[candidate.agent_id])

    def _learn(self, candidate: Candidate, votes: Sequence[Sequence[float]]) -> None:
        """Take one agent's answers if they are answers to our canaries, all of them."""
        canaries = self._canaries.canaries
        if len(votes) != len(canaries) or any(
            len(vote) > 0 and logprobs_fault(vote, len(canary.choices)) for vote, canary in zip(votes, canaries, strict=True)
        ):
            log.warning("canary answers that are none", agent=show_id(candidate.agent_id), node=show_id(candidate.node_id))
            return
        marks = {}
        for canary, vote in zip(canaries, votes, strict=True):
            best = max(range(len(vote)), key=vote.__getitem__) if log_odds(vote) is not None else None
            logprobs = list(vote) if best is not None else []
            marks[canary.id] = Mark(logprobs, canary.right, best == canary.right, choices_key(canary.choices), canary.topic)
        _remember(self._shown, _key(candidate), marks, MAX_AGENTS)
        self._learnt += 1
        for key in [key for key in self._leans if key[0] == _key(candidate)]:
            del self._leans[key]

    def _fitted(self, agents: tuple[tuple[AgentKey, float], ...]) -> _Map:
        fitted = self._maps.get(agents)
        if fitted is None:
            fitted = _fit(self._canaries, [(self._shown[agent], weight) for agent, weight in agents])
        _remember(self._maps, agents, fitted, MAX_MAPS)
        return fitted


def _fit(canaries: CanarySet, panel: Sequence[tuple[Marks, float]]) -> _Map:
    """Pool every canary as a question is pooled; canaries on which nobody has an opinion say nothing about certainty."""
    pairs = cross_fitted([marks for marks, _ in panel], [weight for _, weight in panel], ENOUGH)
    right = dict.fromkeys(canaries.topics, 0)
    for canary in canaries.canaries:
        right[canary.topic] += canary.id in pairs and pairs[canary.id][1]
    return _Map(fit(pairs.values()), right)


def _key(candidate: Candidate) -> AgentKey:
    return candidate.agent_id, candidate.genome


def _remember(memory: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)
