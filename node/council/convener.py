"""The asking side: seat a panel, collect commitments, fix the set, collect reveals, settle, and write the receipt.

One deadline covers everything, in three shares: votes, reveals, the rest. Whatever is not there when a share is over is missing,
with the reason; the answer never waits longer. Every node is checked by one signature, under its reveal, and a certificate that
is verified once (`proofs`). This node's own agents are asked directly, by the same rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from statistics import median
from typing import Any

import msgspec
import structlog

from node.council.hearing import Hearing
from node.council.panel import Panel
from node.council.proofs import Proofs
from node.council.request import MAX_PANEL, Asking
from node.council.seams import Candidate, Courier, Directory, ReceiptBook
from node.council.seating import seat
from node.council.trust import Trust
from node.runtime import Runtime
from protocol.aggregate import AGGREGATOR
from protocol.api.council import ConsensusAnswer
from protocol.ballots import (
    KINDS,
    NONCE_BYTES,
    CommitSet,
    Question,
    check_commitment,
    check_reveal,
    commitment_hash,
    count_votes,
    question_id,
    set_hash,
)
from protocol.errors import InvalidRequest, Malformed, NotAvailable, PeerError, Unreachable, UserError
from protocol.identity import Credentials, Member, NodeId, describe_leaf, show_id
from protocol.messages import Commitments, CouncilCall, LinkMessage, RevealCall, Reveals
from protocol.receipts import VERSION, Receipt, Settled, answer_of, encode_receipt, settle, sign_receipt, votes_root, weigh
from protocol.verdict import Outcome

MAX_ASKING = 64
"""Questions that one node convenes at a time."""
TRANSIT_SHARE, TRANSIT_S = 0.1, 0.25
"""What the panel is told to answer in is shorter than what we wait by this share, at most so many seconds."""
REVEAL_WAIT_S = 3.0
"""How long we wait for a reveal: no brain has to think for it, so whoever takes longer is gone."""
HEDGE_S, SLOW, HEDGE_SHARE = 0.25, 3.0, 0.3
"""A node is slow when it takes this many times as long as the median of those that answered, and more than so many seconds; or, while
fewer than half have answered, longer than this share of the deadline."""
CANARY_S = 0.05
"""How long an answer may wait for canary answers that did not come while the brains were thinking."""

UNDECIDED = Outcome("abstained", None, None, None, None, None)
NOT_CAPABLE = Outcome("abstained", "NOT_CAPABLE", None, None, None, None)

Serve = Callable[[Member, Any], Awaitable[LinkMessage]]
"""How this node would serve the same message to another."""
log = structlog.get_logger("council")


class Convener:
    """Turns a valid request into a signed receipt that is on disk."""

    def __init__(
        self,
        runtime: Runtime,
        credentials: Callable[[], Credentials],
        courier: Courier,
        directory: Directory,
        receipts: ReceiptBook,
        panel: Panel,
        trust: Trust,
        proofs: Proofs,
    ) -> None:
        self._runtime = runtime
        self._credentials = credentials
        self._courier = courier
        self._directory = directory
        self._receipts = receipts
        self._panel = panel
        self._trust = trust
        self._proofs = proofs
        self._me = describe_leaf(credentials().leaf)
        self._asking = 0

    @property
    def asking(self) -> int:
        """Questions being asked now."""
        return self._asking

    async def convene(self, asking: Asking, *, keep: bool = True) -> tuple[Receipt, ConsensusAnswer]:
        """Ask, and keep the receipt. Raises `InvalidRequest` or `NotAvailable`; every other trouble is in the receipt.

        The answer for people is written while the receipt goes to disk; when this returns it is there.
        """
        if self._asking >= MAX_ASKING:
            raise NotAvailable(f"This node is convening {MAX_ASKING} questions already: ask again in a moment.", code="busy")
        self._asking += 1
        try:
            started = self._runtime.monotonic()
            able = self._able(asking)
            order = seat(able, MAX_PANEL, self._runtime.random(), asking.size)
            panel = order[: asking.size]
            homes = {candidate.node_id for candidate in panel}
            spares = [candidate for candidate in order[asking.size :] if candidate.node_id not in homes]
            nonce = self._runtime.token_bytes(NONCE_BYTES)
            hearing = Hearing(self._question(asking, nonce), nonce, asking, panel, spares, started)
            receipt, settled = await self._hold(hearing)
            _, answer = await asyncio.gather(self._save(receipt, keep), _written(receipt, settled))
        finally:
            self._asking -= 1
        log.info("consensus", question=show_id(receipt.id), status=receipt.outcome.status, reason=receipt.outcome.reason)
        return receipt, answer

    async def _save(self, receipt: Receipt, keep: bool) -> None:
        if keep:
            await self._receipts.save(receipt.id, encode_receipt(receipt))

    # ---- who is asked what -------------------------------------------------------------------------------------------

    def _able(self, asking: Asking) -> Sequence[Candidate]:
        """Agents that can answer. Raises `InvalidRequest` where the request asks for what nobody here has."""
        able = self._directory.candidates(asking.kind, len(asking.embedding))
        if not able and asking.kind == "embedding":
            others = self._directory.candidates("embedding", 0)
            sizes = sorted({candidate.embedding_dim for candidate in others})
            if sizes:
                raise InvalidRequest(
                    f"No agent here answers embeddings of dimension {len(asking.embedding)}: send one of {', '.join(map(str, sizes))}.",
                    code="wrong_dimension",
                    param="embedding",
                )
        return able if asking.brain is None else self._named(asking.brain, able)

    def _named(self, brain: str, able: Sequence[Candidate]) -> list[Candidate]:
        """Those of one brain; none where it is here but cannot answer. Raises `InvalidRequest` for an unknown brain."""
        named = [candidate for candidate in able if candidate.brain == brain or candidate.brain.startswith(f"{brain}:")]
        everyone = [] if named else [candidate for kind in KINDS for candidate in self._directory.candidates(kind, 0)]
        brains = sorted({candidate.brain for candidate in everyone})
        if not named and not any(other == brain or other.startswith(f"{brain}:") for other in brains):
            here = f"the brains here are {', '.join(brains)}" if brains else "no agent is running here"
            raise InvalidRequest(f"No agent has the brain '{brain}': {here}.", code="unknown_brain", param="brain")
        return named

    def _question(self, asking: Asking, nonce: bytes) -> Question:
        blank = Question(
            bytes(20),
            asking.kind,
            asking.text,
            list(asking.choices),
            list(asking.embedding),
            asking.system,
            self._runtime.now(),
            asking.temperature,
        )
        return msgspec.structs.replace(blank, id=question_id(blank, self._me.node_id, nonce))

    # ---- the two phases ----------------------------------------------------------------------------------------------

    async def _hold(self, hearing: Hearing) -> tuple[Receipt, Settled]:
        """Both phases, with the canaries alongside."""
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(self._trust.measure(hearing.panel))
            await self._collect(hearing, tasks)
            commit_set = self._commit_set(hearing)
            call = RevealCall(hearing.question.id, [commitment_hash(commitment) for commitment in commit_set.commitments])
            over = set_hash(call.question, call.commitments)
            shows = [tasks.create_task(self._reveal(hearing, node, call, over)) for node in self._far_first(hearing.commitments)]
            for show in shows:
                await show
            slack = hearing.deadline - self._runtime.monotonic()
            if not measuring.done():
                await asyncio.wait([measuring], timeout=max(0.0, min(CANARY_S, slack / 2)))
                measuring.cancel()
        return self._receipt(hearing, commit_set)

    async def _collect(self, hearing: Hearing, tasks: asyncio.TaskGroup) -> None:
        """Commitments of the panel; where nodes are slow, of spares too, and then no more than were wanted are waited for."""
        homes = hearing.homes
        calls = {tasks.create_task(self._commit(hearing, node, homes[node])) for node in self._far_first(homes)}
        await asyncio.sleep(0)  # the calls are on their way: what can be thought of beforehand is thought of while others work
        hearing.seated = self._trust.seats(hearing.question, hearing.panel)
        everybody, pending, hedged = len(calls), calls, False
        while pending and not (hedged and hearing.committed >= hearing.wanted):
            patience = None if hedged or not hearing.spares else self._patience(hearing, everybody - len(pending), everybody)
            when = asyncio.FIRST_COMPLETED if hedged or hearing.spares else asyncio.ALL_COMPLETED  # nobody to ask instead: one wait
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=when)
            for call in done:
                call.result()
            lacking = hearing.wanted - hearing.committed
            if (not done or not pending) and not hedged and lacking > 0:
                hedged = True
                for node, agents in hearing.take_spares(lacking).items():
                    pending.add(tasks.create_task(self._commit(hearing, node, agents)))
        for call in pending:
            call.cancel()
        late = [c.agent_id for c in hearing.panel if c.node_id not in hearing.commitments]
        hearing.excuse(late, "slow: a spare agent answered in its place")

    def _far_first(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """This node last: what it does itself would keep the others waiting for their call."""
        return sorted(nodes, key=self._me.node_id.__eq__)

    def _patience(self, hearing: Hearing, answered: int, asked: int) -> float:
        """Seconds until the next look whether somebody is slow: `SLOW` times the median so far, once half have answered."""
        spent = self._runtime.monotonic() - hearing.started
        longest = HEDGE_SHARE * hearing.asking.deadline_s
        if 2 * answered >= asked and hearing.arrivals:
            longest = min(longest, max(HEDGE_S, SLOW * median(hearing.arrivals)))
        return max(0.0, longest - spent)

    async def _commit(self, hearing: Hearing, node: NodeId, agents: list[bytes]) -> None:
        """One node's commitment, or why there is none."""
        left = hearing.reveal_from - self._runtime.monotonic()
        told = max(0.001, left - min(TRANSIT_SHARE * left, TRANSIT_S))
        call = CouncilCall(hearing.question, agents, max(1, int(told * 1000)))
        try:
            reply = await self._deliver(node, call, self._panel.call, left)
            if not isinstance(reply, Commitments):
                raise Malformed("it answered a call with something else than commitments")
            commitment = reply.commitment
            member = self._proofs.member(commitment.chain, node)
            check_commitment(commitment, hearing.question.id, agents)
        except (PeerError, UserError) as error:
            hearing.excuse(agents, f"node {show_id(node)[:8]}: {error}")
            return
        if node in hearing.commitments:
            hearing.excuse(agents, "its node has committed already")
            return
        hearing.commitments[node] = (member, commitment)
        hearing.arrivals.append(self._runtime.monotonic() - hearing.started)
        for agent in agents:
            if agent not in commitment.agents:
                hearing.excuse([agent], commitment.missing.get(agent, "its node did not mention it"))

    def _commit_set(self, hearing: Hearing) -> CommitSet:
        """All commitments, in the order of their nodes' ids."""
        commitments = [hearing.commitments[node][1] for node in sorted(hearing.commitments)]
        return CommitSet(hearing.question.id, list(self._credentials().chain), commitments)

    async def _reveal(self, hearing: Hearing, node: NodeId, call: RevealCall, over: bytes) -> None:
        """One node's votes, or why there are none."""
        member, commitment = hearing.commitments[node]
        if not commitment.agents:
            return
        left = min(hearing.reveal_until - self._runtime.monotonic(), REVEAL_WAIT_S)
        try:
            reply = await self._deliver(node, call, self._panel.reveal, left)
            if not isinstance(reply, Reveals):
                raise Malformed("it answered a call to reveal with something else")
            check_reveal(reply.reveal, commitment, over, self._key_of(member))
        except (PeerError, UserError) as error:
            hearing.excuse(commitment.agents, f"node {show_id(node)[:8]} committed but did not reveal: {error}")
            return
        hearing.reveals[node] = reply.reveal
        votes, faults = count_votes(hearing.question, commitment, reply.reveal)
        hearing.votes.update((vote.agent_id, vote) for vote in votes)
        for agent, fault in faults.items():
            hearing.excuse([agent], fault)

    def _key_of(self, member: Member) -> bytes | None:
        """To check a signature with; None for this node's own, made a moment ago."""
        return None if member.node_id == self._me.node_id else member.public_key

    async def _deliver(self, node: NodeId, message: LinkMessage, serve: Serve, left: float) -> LinkMessage:
        """Ask another node, or this one without the network. Raises `PeerError` or `UserError`, within `left` seconds."""
        if node != self._me.node_id:
            return await self._courier.request(node, message, max(0.0, left))
        try:
            async with asyncio.timeout(max(0.0, left)):
                return await serve(self._me, message)
        except TimeoutError as error:
            raise Unreachable(f"did not answer within {left:.1f} s") from error

    # ---- the receipt -------------------------------------------------------------------------------------------------

    def _receipt(self, hearing: Hearing, commit_set: CommitSet) -> tuple[Receipt, Settled]:
        """Settle by the same code as every verifier, and sign."""
        known, seats, rho = hearing.seated
        if (known, len(seats)) != (self._trust.version, len(hearing.panel)):  # canary answers came meanwhile, or spares sat down
            _, seats, rho = self._trust.seats(hearing.question, hearing.panel)
        counted = [seat for seat in seats if seat.agent_id in hearing.votes]
        draft = Receipt(
            version=VERSION,
            aggregator=AGGREGATOR,
            root=self._credentials().root,
            nonce=hearing.nonce,
            question=hearing.question,
            asked=hearing.asking.agents or 0,
            panel=seats,
            quorum=hearing.asking.quorum or hearing.wanted // 2 + 1,
            commit_set=commit_set,
            reveals=[hearing.reveals[node] for node in sorted(hearing.reveals)],
            missing=hearing.missing,
            rho=rho,
            votes_root=votes_root(commit_set),
            calibration=self._trust.calibrate(hearing.question, hearing.voters, weigh(hearing.question, counted, rho)),
            outcome=UNDECIDED if hearing.panel or not self._anybody() else NOT_CAPABLE,
            elapsed_ms=(self._runtime.monotonic() - hearing.started) * 1000.0,
            brain_ms=max((commitment.waited_ms for _, commitment in hearing.commitments.values()), default=0.0),
        )
        settled = settle(draft, hearing.votes)
        return sign_receipt(self._credentials().key, msgspec.structs.replace(draft, outcome=settled.outcome)), settled

    def _anybody(self) -> bool:
        """Whether any agent lives in the swarm, whatever it can answer."""
        return any(self._directory.candidates(kind, 0) for kind in KINDS)


async def _written(receipt: Receipt, settled: Settled) -> ConsensusAnswer:
    """The answer for people, as something that goes on while the disk works."""
    return answer_of(receipt, settled)
