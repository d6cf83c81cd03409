"""Panel nodes and conveners that break the rules: what each can and cannot achieve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from protocol.api.council import ConsensusAnswer, ConsensusRequest
from protocol.ballots import NO_SIGNATURE, Question, Reveal, commitment_hash, question_id, set_hash, sign, vote_hash
from protocol.errors import Refused
from protocol.identity import Member, show_id, verify_chain
from protocol.messages import Commitments, CouncilCall, LinkMessage, RevealCall, Reveals
from protocol.receipts import decode_receipt
from protocol.verification import verify_receipt
from tests.unit.council.world import Node, Swarm, logprobs

REQUEST = ConsensusRequest(question="Good or bad?", choices=["good", "bad"], deadline_s=2.0)


async def ask_past(three: Swarm, change: Callable[[LinkMessage], LinkMessage]) -> ConsensusAnswer:
    """Ask while the third node's answers are changed on their way; the answer must survive and its receipt must hold."""
    asked, cheat = three.nodes[0], three.nodes[2]
    three.post.tamper[(cheat.id, Commitments)] = change
    three.post.tamper[(cheat.id, Reveals)] = change
    answer = await asked.council.ask(REQUEST)
    assert (answer.status, answer.answer, answer.degraded) == ("answered", "good", True)
    [data] = await asked.receipts.recent(1)
    report = verify_receipt(data, asked.credentials.root)
    assert report.ok, report.problem
    return answer


def only(message_type: type[LinkMessage], change: Callable[[LinkMessage], LinkMessage]) -> Callable[[LinkMessage], LinkMessage]:
    return lambda message: change(message) if isinstance(message, message_type) else message


def reveals(message: LinkMessage) -> Reveals:
    assert isinstance(message, Reveals)
    return message


def commitments(message: LinkMessage) -> Commitments:
    assert isinstance(message, Commitments)
    return message


async def test_a_forged_signature_costs_the_node_its_votes(three: Swarm) -> None:
    def forge(message: LinkMessage) -> LinkMessage:
        return Reveals(msgspec.structs.replace(reveals(message).reveal, signature=bytes(64)))

    answer = await ask_past(three, only(Reveals, forge))
    assert len(answer.votes) == 8
    assert {missing.agent_id for missing in answer.missing} == {show_id(agent) for agent in three.nodes[2].agents}
    assert "a signature does not hold" in answer.missing[0].reason


async def test_a_forged_commitment_costs_the_node_its_votes(three: Swarm) -> None:
    def forge(message: LinkMessage) -> LinkMessage:
        commitment = commitments(message).commitment
        return Commitments(msgspec.structs.replace(commitment, hashes=[bytes(32)] * len(commitment.hashes)))

    answer = await ask_past(three, only(Commitments, forge))
    assert (len(answer.votes), len(answer.missing)) == (8, 4)


async def test_an_outsider_is_not_heard(three: Swarm) -> None:
    other = Swarm(asyncio.get_running_loop().time, seed=99).add()

    def from_outside(message: LinkMessage) -> LinkMessage:
        return Commitments(msgspec.structs.replace(commitments(message).commitment, chain=list(other.credentials.chain)))

    answer = await ask_past(three, only(Commitments, from_outside))
    assert "not issued by this swarm" in answer.missing[0].reason


async def test_a_node_cannot_speak_for_another_node(three: Swarm) -> None:
    victim = three.nodes[1]

    def impersonate(message: LinkMessage) -> LinkMessage:
        return Commitments(msgspec.structs.replace(commitments(message).commitment, chain=list(victim.credentials.chain)))

    answer = await ask_past(three, only(Commitments, impersonate))
    assert "another node" in answer.missing[0].reason


async def test_a_node_cannot_commit_for_agents_of_others(three: Swarm) -> None:
    stolen = three.nodes[1].agents[0]

    def grab(message: LinkMessage) -> LinkMessage:
        mine = commitments(message).commitment
        return Commitments(msgspec.structs.replace(mine, agents=[*mine.agents, stolen], hashes=[*mine.hashes, bytes(32)]))

    answer = await ask_past(three, only(Commitments, grab))
    assert (len(answer.votes), len(answer.missing)) == (8, 4)


async def test_revealing_something_else_than_committed_loses_that_vote_and_keeps_the_proof(three: Swarm) -> None:
    cheat = three.nodes[2]
    calls = RevealCallTap(three, cheat)

    def swap(message: LinkMessage) -> LinkMessage:
        told = reveals(message).reveal
        first = msgspec.structs.replace(told.votes[0], logprobs=logprobs(0.01, 0.99))
        return Reveals(sign(cheat.credentials.key, msgspec.structs.replace(told, votes=[first, *told.votes[1:]]), calls.over))

    answer = await ask_past(three, only(Reveals, swap))
    assert len(answer.votes) == 11
    assert answer.missing[0].reason == "revealed another vote than it had committed to"
    [data] = await three.nodes[0].receipts.recent(1)
    receipt = decode_receipt(data)
    evidence = [vote for reveal in receipt.reveals for vote in reveal.votes if show_id(vote.agent_id) == answer.missing[0].agent_id]
    assert len(evidence) == 1  # signed by the cheat, beside the commitment that its signature covers


async def test_committing_to_nan_and_revealing_it_is_missing_with_the_reason(three: Swarm) -> None:
    cheat = three.nodes[2]
    calls = RevealCallTap(three, cheat)
    nan = float("nan")

    def poison(message: LinkMessage) -> LinkMessage:
        if isinstance(message, Commitments):
            return message
        told = reveals(message).reveal
        votes = [msgspec.structs.replace(told.votes[0], logprobs=[nan, nan]), *told.votes[1:]]
        return Reveals(sign(cheat.credentials.key, msgspec.structs.replace(told, votes=votes), calls.over))

    def commit_to_poison(message: LinkMessage) -> LinkMessage:
        if not isinstance(message, Commitments):
            return poison(message)
        mine = message.commitment
        ballot = cheat.council._panel._open[(three.nodes[0].id, mine.question)]
        bad = msgspec.structs.replace(ballot.votes[0], logprobs=[nan, nan])
        hashes = [vote_hash(cheat.host.questions[-1], bad), *mine.hashes[1:]]
        changed = msgspec.structs.replace(mine, hashes=hashes)
        opened = type(ballot)(commitment_hash(changed), ballot.votes, ballot.expires)
        cheat.council._panel._open[(three.nodes[0].id, mine.question)] = opened
        return Commitments(changed)

    answer = await ask_past(three, commit_to_poison)
    assert len(answer.votes) == 11
    assert answer.missing[0].reason == "invalid vote: a log-probability is not finite"


async def test_a_vote_twice_in_a_reveal_voids_the_reveal(three: Swarm) -> None:
    cheat = three.nodes[2]
    calls = RevealCallTap(three, cheat)

    def double(message: LinkMessage) -> LinkMessage:
        told = reveals(message).reveal
        twice = msgspec.structs.replace(told, votes=[*told.votes, told.votes[0]])
        return Reveals(sign(cheat.credentials.key, twice, calls.over))

    answer = await ask_past(three, only(Reveals, double))
    assert len(answer.votes) == 8
    assert "or one twice" in answer.missing[0].reason


async def test_a_reveal_of_an_earlier_question_is_no_reveal(three: Swarm) -> None:
    cheat, kept = three.nodes[2], list[LinkMessage]()
    three.post.tamper[(cheat.id, Reveals)] = lambda message: kept.append(message) or message  # type: ignore[func-returns-value]
    await three.nodes[0].council.ask(REQUEST)
    answer = await ask_past(three, only(Reveals, lambda message: kept[0]))
    assert "another question" in answer.missing[0].reason


async def test_a_late_reveal_does_not_count(three: Swarm) -> None:
    async def stall(message: LinkMessage) -> LinkMessage:
        await asyncio.sleep(5.0)
        return message

    three.post.tamper[(three.nodes[2].id, Reveals)] = stall
    request = msgspec.structs.replace(REQUEST, deadline_s=0.3)
    answer = await three.nodes[0].council.ask(request)
    assert answer.elapsed_ms < 350
    assert (answer.answer, len(answer.votes)) == ("good", 8)
    assert "committed but did not reveal" in answer.missing[0].reason


async def test_an_answer_of_the_wrong_type_is_no_answer(three: Swarm) -> None:
    blank = Reveals(Reveal(bytes(32), [], NO_SIGNATURE))
    answer = await ask_past(three, only(Commitments, lambda message: blank))
    assert len(answer.votes) == 8


# ---- conveners -------------------------------------------------------------------------------------------------------


class RevealCallTap:
    """Reads the set of commitments that the convener sends to a node."""

    def __init__(self, swarm: Swarm, node: Node) -> None:
        self._swarm = swarm
        self._node = node

    @property
    def over(self) -> bytes:
        """What the node's reveal has to be signed over."""
        calls = [body for _, target, body in self._swarm.post.carried if target == self._node.id and isinstance(body, RevealCall)]
        return set_hash(calls[-1].question, calls[-1].commitments)


class Convener:
    """A convener by hand, that can cheat."""

    def __init__(self, swarm: Swarm, me: Node, other: Node) -> None:
        self.swarm, self.me, self.other = swarm, me, other
        blank = Question(bytes(20), "choice", "Good?", ["good", "bad"], [], "", me.runtime.now())
        self.question = msgspec.structs.replace(blank, id=question_id(blank, me.id, b"n" * 16))

    async def call(self) -> Commitments:
        reply = await self.me.mailbox.request(self.other.id, CouncilCall(self.question, self.other.agents, 1000), 1.0)
        return commitments(reply)

    def holding(self, *parts: Commitments) -> RevealCall:
        return RevealCall(self.question.id, [b"c" * 32, *(commitment_hash(part.commitment) for part in parts)])

    async def show(self, call: RevealCall, asker: Node | None = None) -> Reveals:
        return reveals(await (asker or self.me).mailbox.request(self.other.id, call, 1.0))


@pytest.fixture
def convener(three: Swarm) -> Convener:
    return Convener(three, three.nodes[0], three.nodes[1])


async def test_a_set_that_drops_the_commitment_gets_no_votes(convener: Convener) -> None:
    await convener.call()
    with pytest.raises(Refused, match="does not hold this node's own"):
        await convener.show(convener.holding())


async def test_a_set_that_changes_the_commitment_gets_no_votes(convener: Convener) -> None:
    mine = await convener.call()
    changed = Commitments(msgspec.structs.replace(mine.commitment, waited_ms=1e6))
    with pytest.raises(Refused, match="unchanged"):
        await convener.show(convener.holding(changed))


async def test_a_set_that_holds_it_twice_gets_no_votes(convener: Convener) -> None:
    mine = await convener.call()
    with pytest.raises(Refused, match="unchanged"):
        await convener.show(convener.holding(mine, mine))


async def test_another_member_cannot_reveal_the_conveners_question(three: Swarm, convener: Convener) -> None:
    mine = await convener.call()
    with pytest.raises(Refused, match="no open ballot"):
        await convener.show(convener.holding(mine), asker=three.nodes[2])
    assert len((await convener.show(convener.holding(mine))).reveal.votes) == 4  # the convener itself still can


async def test_votes_are_shown_once(convener: Convener) -> None:
    mine = await convener.call()
    await convener.show(convener.holding(mine))
    with pytest.raises(Refused, match="no open ballot"):
        await convener.show(convener.holding(mine))


async def test_a_question_is_answered_once(convener: Convener) -> None:
    await convener.call()
    with pytest.raises(Refused, match="answered already"):
        await convener.call()
    assert len(convener.other.host.questions) == 1


async def test_nobody_can_spend_anothers_question_id(three: Swarm, convener: Convener) -> None:
    await three.nodes[2].mailbox.request(convener.other.id, CouncilCall(convener.question, convener.other.agents, 1000), 1.0)
    assert len((await convener.call()).commitment.agents) == 4


async def test_an_old_question_is_refused(convener: Convener) -> None:
    convener.question = msgspec.structs.replace(convener.question, asked_at=convener.question.asked_at - 4000)
    with pytest.raises(Refused, match="check both clocks"):
        await convener.call()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dance"},
        {"choices": ["good"]},
        {"choices": ["good", "good"]},
        {"kind": "boolean"},
        {"kind": "embedding"},
        {"embedding": [1.0]},
        {"text": ""},
        {"asked_at": float("nan")},
        {"asked_at": 1e300},
        {"temperature": 1.0},
    ],
)
async def test_questions_without_sense_are_refused_before_any_brain_sees_them(convener: Convener, change: dict[str, object]) -> None:
    convener.question = msgspec.structs.replace(convener.question, **change)
    with pytest.raises(Refused):
        await convener.call()
    assert convener.other.host.questions == []


async def test_a_convener_that_opens_too_many_ballots_loses_its_own_oldest(three: Swarm, convener: Convener) -> None:
    first = await convener.call()
    opened = convener.question
    for number in range(70):
        convener.question = msgspec.structs.replace(opened, id=bytes([number]) * 20)
        last = await convener.call()
    assert len((await convener.show(convener.holding(last))).reveal.votes) == 4
    convener.question = opened
    with pytest.raises(Refused, match="no open ballot"):
        await convener.show(convener.holding(first))
    assert (await three.nodes[2].council.ask(REQUEST)).degraded is False  # others are served as before


async def test_an_open_ballot_expires(convener: Convener) -> None:
    mine = await convener.call()
    panel = convener.other.council._panel
    panel._open = {key: type(ballot)(ballot.commitment, ballot.votes, 0.0) for key, ballot in panel._open.items()}
    with pytest.raises(Refused, match="too late"):
        await convener.show(convener.holding(mine))


async def test_a_dead_node_is_named(three: Swarm) -> None:
    three.post.dead.add(three.nodes[1].id)
    answer = await three.nodes[0].council.ask(REQUEST)
    assert (answer.status, answer.degraded, len(answer.votes)) == ("answered", True, 8)
    assert answer.elapsed_ms < 500
    assert {missing.node_id for missing in answer.missing} == {show_id(three.nodes[1].id)}
    assert "4 of 12 votes are missing" in answer.detail
    assert "the link was lost" in answer.detail


async def test_membership_is_checked_once_a_certificate(three: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def counted(chain: Sequence[bytes], root: bytes, now: float) -> Member:
        seen.append(chain[0])
        return verify_chain(chain, root, now)

    monkeypatch.setattr("node.council.proofs.verify_chain", counted)
    for _ in range(3):
        await three.nodes[0].council.ask(REQUEST)
    assert len(seen) == 3  # by the convener, its own node's among them; to the others the link says who convenes
