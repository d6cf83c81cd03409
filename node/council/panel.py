"""The answering side: let agents vote, commit to what they said, show it once everybody has committed.

An open ballot is this node's secret between the two phases. It is kept for the time the convener gave, shown at most once, to
nobody but the convener, and only over a set of commitments that holds this node's own, unchanged.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from node.council.seams import AgentHost
from node.runtime import Runtime
from protocol.ballots import (
    MAX_REASON,
    NO_SIGNATURE,
    NONCE_BYTES,
    Commitment,
    Question,
    Reveal,
    Vote,
    check_question,
    commitment_hash,
    set_hash,
    sign,
    vote_fault,
    vote_hashes,
)
from protocol.errors import Refused
from protocol.identity import Credentials, Member
from protocol.messages import Commitments, CouncilCall, RevealCall, Reveals

MAX_OPEN = 256
MAX_EACH = 64
"""Questions voted on or waiting to be revealed: in all, and (each of the two) for one convener."""
GRACE_S = 30.0
"""An open ballot outlives the time for votes by this: the convener then still has to collect the others."""
OVERRUN_S = 0.5
"""A host that overruns its time by this is cut off."""
MAX_REMEMBERED = 16_384
MAX_AGE_S = 3_600.0
"""A question asked longer ago than this (or further ahead, clocks differ) is refused: its id may be forgotten already."""


@dataclass(frozen=True, slots=True)
class _Ballot:
    """What was committed to, and the votes behind it."""

    commitment: bytes
    """Its hash."""
    votes: list[Vote]
    expires: float


class Panel:
    """Serves `CouncilCall` and `RevealCall`. Questions are told apart by (convener, id), so that nobody can spend another's id."""

    def __init__(self, runtime: Runtime, credentials: Callable[[], Credentials], host: AgentHost) -> None:
        self._runtime = runtime
        self._credentials = credentials
        self._host = host
        self._open: dict[tuple[bytes, bytes], _Ballot] = {}
        self._voting: dict[tuple[bytes, bytes], None] = {}
        self._answered: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    @property
    def open(self) -> int:
        """Ballots that wait to be shown."""
        return len(self._open)

    @property
    def voting(self) -> int:
        """Questions being voted on."""
        return len(self._voting)

    async def call(self, convener: Member, call: CouncilCall) -> Commitments:
        """Let the agents answer and commit. Raises `Refused`, `Malformed`, or what the host raises."""
        question, agents, key = call.question, list(dict.fromkeys(call.agents)), (convener.node_id, call.question.id)
        check_question(question)
        self._admit(key, question)
        seconds = call.deadline_ms / 1000.0
        started = self._runtime.monotonic()
        self._voting[key] = None
        try:
            async with asyncio.timeout(seconds + OVERRUN_S):
                votes, missing = await self._host.vote(question, agents, seconds)
        except TimeoutError as error:
            raise Refused("timeout", f"its agents did not answer within {seconds:.1f} s") from error
        finally:
            del self._voting[key]
        waited = self._runtime.monotonic() - started
        valid, absent = _sift(question, agents, votes, missing)
        valid = [msgspec.structs.replace(vote, nonce=self._runtime.token_bytes(NONCE_BYTES)) for vote in valid]
        commitment = self._commitment(question, valid, absent, waited)
        if valid:
            self._keep(key, _Ballot(commitment_hash(commitment), valid, started + seconds + GRACE_S))
        return Commitments(commitment)

    async def reveal(self, convener: Member, call: RevealCall) -> Reveals:
        """Show the votes behind this node's commitment. Raises `Refused`."""
        key = (convener.node_id, call.question)
        self._expire()
        ballot = self._open.get(key)
        if ballot is None:
            raise Refused("unknown", "no open ballot for this question: never asked, shown already, or too late")
        if call.commitments.count(ballot.commitment) != 1:
            raise Refused("dropped", "the set of commitments does not hold this node's own, unchanged and once")
        del self._open[key]
        over = set_hash(call.question, call.commitments)
        return Reveals(sign(self._credentials().key, Reveal(ballot.commitment, ballot.votes, NO_SIGNATURE), over))

    def _admit(self, key: tuple[bytes, bytes], question: Question) -> None:
        """Each question once, and no more at a time than we can keep. Raises `Refused`."""
        self._expire()
        if abs(self._runtime.now() - question.asked_at) > MAX_AGE_S:
            raise Refused("stale", "the question was asked over an hour ago or ahead: check both clocks")
        if key in self._answered:
            raise Refused("repeated", "this question was answered already")
        voting = sum(convener == key[0] for convener, _ in self._voting)
        if len(self._open) + len(self._voting) >= MAX_OPEN or voting >= MAX_EACH:
            raise Refused("busy", "too many questions at once here: ask again in a moment")
        self._answered[key] = None
        if len(self._answered) > MAX_REMEMBERED:
            self._answered.popitem(last=False)

    def _keep(self, key: tuple[bytes, bytes], ballot: _Ballot) -> None:
        """A convener that opens too many ballots loses its own oldest: those of questions that were given up."""
        own = [other for other in self._open if other[0] == key[0]]
        if len(own) >= MAX_EACH:
            del self._open[own[0]]
        self._open[key] = ballot

    def _commitment(self, question: Question, votes: list[Vote], missing: dict[bytes, str], waited: float) -> Commitment:
        """One hash a vote."""
        agents, hashes = [vote.agent_id for vote in votes], vote_hashes(question, votes)
        return Commitment(question.id, list(self._credentials().chain), agents, hashes, missing, waited * 1000.0)

    def _expire(self) -> None:
        now = self._runtime.monotonic()
        for key in [key for key, ballot in self._open.items() if ballot.expires <= now]:
            del self._open[key]


def _sift(
    question: Question, agents: Sequence[bytes], votes: Sequence[Vote], missing: Mapping[bytes, str]
) -> tuple[list[Vote], dict[bytes, str]]:
    """One valid vote an agent that was asked, and for the others the reason: we never commit to what would not count."""
    valid: dict[bytes, Vote] = {}
    reasons = {agent: missing.get(agent, "no vote") for agent in agents}
    for vote in votes:
        fault = vote_fault(question, vote)
        if vote.agent_id in reasons and fault is None:
            valid[vote.agent_id] = vote
        elif vote.agent_id in reasons:
            reasons[vote.agent_id] = f"invalid vote: {fault}"
    return list(valid.values()), {agent: reason[:MAX_REASON] for agent, reason in reasons.items() if agent not in valid}
