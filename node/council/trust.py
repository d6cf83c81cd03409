"""How far a panel's certainty can be believed.

Each agent of a panel has answered the shipped canaries; its node tells us how. We pool them as we pool the votes of a question
and fit the map from pooled probability to confidence (`protocol.calibration`): one map a panel and its weights, the same for every
question. Once the voters have answered enough hidden canaries (`examiner`), those decide the map instead: anybody can read the shipped
ones. What each vote weighs comes from the ledger (`seats`).

Canary answers are kept for one genome and asked for while the brains think, so they cost a question no time. They are what a node
says of its own agents, unsigned; a receipt carries the map as the convener's word.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from node.council.canaries import CanarySet
from node.council.ledger import Ledger
from node.council.seams import AgentHost, Candidate, Courier, TopicModel
from node.runtime import Runtime
from protocol.aggregate import log_odds, pool, ranked
from protocol.ballots import Question, logprobs_fault
from protocol.calibration import UNCALIBRATED, Calibration, Step, fit
from protocol.errors import PeerError, Refused, UserError
from protocol.identity import Member, NodeId, show_id
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

Odds = tuple[tuple[float, ...] | None, ...]
"""One agent's capped log-odds for each canary; None where it had no opinion."""
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
        self._odds: OrderedDict[AgentKey, Odds] = OrderedDict()
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
            if key not in self._odds and now - self._asked.get(key, -RETRY_S) >= RETRY_S:
                wanted.setdefault(candidate.node_id, []).append(candidate)
                _remember(self._asked, key, now, MAX_AGENTS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ledger.hear([candidate.agent_id for candidate in panel]), name="ratings")
            for node_id, candidates in wanted.items():
                tasks.create_task(self._fetch(node_id, candidates), name="canaries")

    def seats(self, question: Question, panel: Sequence[Candidate]) -> tuple[list[Seat], list[float]]:
        """The panel with what is known of each agent, and by group how alike its members err."""
        topic = self._topics.infer(question.text, question.choices or ["no", "yes"]) or ""
        numbers, rho = groups([c.brain for c in panel], [self._ledger.hits(c.agent_id) for c in panel])
        seats = []
        for candidate, group in zip(panel, numbers, strict=True):
            known = self._ledger.evidence(candidate.agent_id, topic)
            seats.append(Seat(candidate.agent_id, candidate.node_id, known.good, known.bad, group))
        return seats, rho or [0.0]

    def calibrate(self, question: Question, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration:
        """The map for those who voted with these weights, and what the canaries say about the question's topic.

        Fitted on hidden canaries where the voters answered enough of them, else on the shipped ones.
        """
        return self._hidden(question, voters, weights) or self._shipped(question, voters, weights)

    def _hidden(self, question: Question, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration | None:
        """From canaries that nobody could know; None where too few of them were answered by most of these voters."""
        marks = [self._ledger.marks(candidate.agent_id) for candidate in voters]
        answered = Counter(canary for own in marks for canary in own)
        common = sorted(canary for canary, count in answered.items() if count >= ENOUGH * len(voters))
        if question.kind not in GRADABLE or len(common) < ENOUGH_HIDDEN:
            return None
        pairs = []
        for canary in common:
            heard = [(own[canary], w) for own, w in zip(marks, weights, strict=True) if canary in own]
            odds = [(mark, mark.odds, w) for mark, w in heard if mark.odds is not None]
            if odds and len({len(x) for _, x, _ in odds}) == 1:
                pooled = pool([x for _, x, _ in odds], [w for _, _, w in odds])
                best = ranked(pooled)[0]
                right = any(mark.right and ranked(x)[0] == best for mark, x, _ in odds)
                pairs.append((pooled[best], right))
        digest = hashlib.sha256("\n".join(common).encode()).digest()
        steps = fit(pairs)
        return Calibration("isotonic", sum(step.count for step in steps), digest, len(voters), None, 0, 0, steps) if steps else None

    def _shipped(self, question: Question, voters: Sequence[Candidate], weights: Sequence[float]) -> Calibration:
        known_weight = {_key(candidate): weight for candidate, weight in zip(voters, weights, strict=True)}
        measured = [candidate for candidate in voters if _key(candidate) in self._odds]
        if question.embedding or question.kind not in GRADABLE or not measured or len(measured) < ENOUGH * len(voters):
            return UNCALIBRATED
        fitted = self._fitted(tuple(sorted((_key(candidate), known_weight[_key(candidate)]) for candidate in measured)))
        if not fitted.steps:
            return UNCALIBRATED
        topic = self._topics.infer(question.text, question.choices or ["no", "yes"])
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
        _remember(self._odds, _key(candidate), tuple(log_odds(vote) for vote in votes), MAX_AGENTS)

    def _fitted(self, agents: tuple[tuple[AgentKey, float], ...]) -> _Map:
        fitted = self._maps.get(agents)
        if fitted is None:
            fitted = _fit(self._canaries, [(self._odds[agent], weight) for agent, weight in agents])
        _remember(self._maps, agents, fitted, MAX_MAPS)
        return fitted


def _fit(canaries: CanarySet, panel: Sequence[tuple[Odds, float]]) -> _Map:
    """Pool every canary as a question is pooled; canaries on which nobody has an opinion say nothing about certainty."""
    pairs: list[tuple[float, bool]] = []
    right = dict.fromkeys(canaries.topics, 0)
    for index, canary in enumerate(canaries.canaries):
        heard = [(own, weight) for own, weight in ((agent[index], weight) for agent, weight in panel) if own is not None]
        if heard:
            pooled = pool([own for own, _ in heard], [weight for _, weight in heard])
            best = ranked(pooled)[0]
            pairs.append((pooled[best], best == canary.right))
            right[canary.topic] += best == canary.right
    return _Map(fit(pairs), right)


def _key(candidate: Candidate) -> AgentKey:
    return candidate.agent_id, candidate.genome


def _remember(memory: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)
