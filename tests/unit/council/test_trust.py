"""Canary answers: where they come from, how often they are asked for, when they are believed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from node.council.canaries import Canary, CanarySet
from node.council.proofs import KEEP_S, Proofs
from node.runtime import Runtime
from node.testing import SimRuntime
from protocol.api.council import ConsensusRequest
from protocol.errors import BadSignature, InvalidRequest, LocalError, NotAvailable, Refused
from protocol.messages import CanaryCall
from protocol.receipts import encode_receipt
from protocol.verification import verify_receipt
from tests.unit.council.world import Swarm

REQUEST = ConsensusRequest(question="Good?", choices=["good", "bad"])


def test_the_package_ships_sixty_canaries_of_several_topics() -> None:
    canaries = CanarySet.load()
    assert len(canaries.canaries) == 60
    assert len(canaries.topics) >= 3
    assert canaries.digest == CanarySet.load().digest


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        '{"id": "a", "topic": "t", "question": "?", "choices": ["x"], "answer": "x"}',
        '{"id": "a", "topic": "t", "question": "?", "choices": ["x", "y"], "answer": "z"}',
        '{"id": "a", "topic": "t", "question": "?", "choices": ["x", "x"], "answer": "x"}',
        '{"id": "a", "topic": "t", "question": "?", "choices": ["x", "y"], "answer": "x", "more": 1}',
        '{"id": "a", "topic": "t", "question": "?", "choices": ["x", "y"], "answer": "x"}\n' * 2,
    ],
)
def test_a_damaged_canary_file_is_our_bug(tmp_path: Path, line: str) -> None:
    path = tmp_path / "canaries.jsonl"
    path.write_text(line)
    with pytest.raises(LocalError):
        CanarySet.load(path)


def calls(swarm: Swarm) -> int:
    return sum(isinstance(body, CanaryCall) for _, _, body in swarm.post.carried)


async def test_canaries_are_asked_for_once_a_genome(three: Swarm) -> None:
    node = three.nodes[0]
    for _ in range(3):
        await node.council.ask(REQUEST)
    assert calls(three) == 2
    other = three.nodes[1]
    other.candidates = [type(c)(c.agent_id, c.node_id, c.brain, c.family, 0.5, 0, b"changed genome") for c in other.candidates]
    await node.council.ask(REQUEST)
    assert calls(three) == 3


async def test_agents_that_are_not_measured_are_not_asked_about_at_every_question(three: Swarm) -> None:
    for node in three.nodes:
        node.host.measured = False
    for _ in range(5):
        await three.nodes[0].council.ask(REQUEST)
    assert calls(three) == 2


async def test_a_call_for_other_canaries_is_refused(three: Swarm) -> None:
    with pytest.raises(Refused, match="update the older"):
        await three.nodes[0].mailbox.request(three.nodes[1].id, CanaryCall(bytes(32), three.nodes[1].agents), 1.0)


async def test_canary_answers_that_never_come_do_not_delay_the_answer(three: Swarm) -> None:
    real = three.post.carry
    stuck = 0

    async def carry(source, target, message):  # type: ignore[no-untyped-def]
        nonlocal stuck
        if isinstance(message, CanaryCall):
            stuck += 1
            await asyncio.Event().wait()
        return await real(source, target, message)

    three.post.carry = carry  # type: ignore[method-assign]
    answer = await three.nodes[0].council.ask(REQUEST)
    assert stuck == 2
    assert (answer.status, answer.basis.method) == ("answered", "uncalibrated")
    assert answer.elapsed_ms < 500


async def test_a_host_that_cannot_answer_is_missing_with_its_reason(three: Swarm) -> None:
    async def fail(*_: object) -> None:
        raise NotAvailable("The weights are damaged: fetch them again.")

    for node in (three.nodes[0], three.nodes[2]):
        node.host.vote = fail  # type: ignore[method-assign,assignment]
    answer = await three.nodes[0].council.ask(msgspec.structs.replace(REQUEST, quorum=3))
    assert (answer.status, len(answer.votes), len(answer.missing)) == ("answered", 4, 8)
    assert all("The weights are damaged" in missing.reason for missing in answer.missing)


async def test_a_question_that_is_given_up_leaves_nothing_behind(three: Swarm) -> None:
    three.nodes[1].host.delay = 60.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await three.nodes[0].council.ask(REQUEST)
    three.nodes[1].host.delay = 0.0
    assert (await three.nodes[0].council.ask(REQUEST)).degraded is False
    assert await three.nodes[0].receipts.recent(5) != []
    assert len(asyncio.all_tasks()) == 1


async def test_too_many_questions_at_once_are_refused_with_a_remedy(three: Swarm) -> None:
    for node in three.nodes:
        node.host.delay = 0.05
    asked = await asyncio.gather(*(three.nodes[0].council.ask(REQUEST) for _ in range(70)), return_exceptions=True)
    refused = [error for error in asked if isinstance(error, NotAvailable)]
    assert len(refused) == 6
    assert "ask again in a moment" in str(refused[0])


# ---- proofs ----------------------------------------------------------------------------------------------------------


async def test_a_proof_is_checked_again_after_a_while_and_refused_once_expired(three: Swarm) -> None:
    node = three.nodes[0]
    start = asyncio.get_running_loop().time()
    clock = [start]
    runtime: Runtime = SimRuntime("proofs", lambda: clock[0])
    proofs = Proofs(runtime, node.credentials.root)
    chain = node.credentials.chain
    assert proofs.member(chain, node.id).node_id == node.id
    clock[0] = start + KEEP_S + 1
    assert proofs.member(chain, node.id).node_id == node.id
    clock[0] = start + 40 * 86_400.0
    with pytest.raises(BadSignature, match="expired"):
        proofs.member(chain, node.id)


async def test_a_good_proof_of_another_node_is_refused(three: Swarm) -> None:
    proofs = Proofs(three.nodes[0].runtime, three.nodes[0].credentials.root)
    with pytest.raises(BadSignature, match="another node"):
        proofs.member(three.nodes[0].credentials.chain, three.nodes[1].id)


async def test_hidden_canaries_teach_the_ledger_who_is_right(swarm: Swarm) -> None:
    for said in ("yes", "yes", "no"):
        swarm.add(said)
    council = swarm.nodes[0].council
    canaries = [Canary(f"h{n}", "colours", f"is colours {n} so?", ["yes", "no"], "yes") for n in range(12)]
    assert await council.examiner.add(canaries) == 12
    for _ in range(12):
        assert await council.examiner.examine()
    answer = await council.ask(ConsensusRequest(question="colours again?", choices=["yes", "no"]))
    weights = {vote.answer: vote.weight for vote in answer.votes}
    assert weights["yes"] > 10 * weights["no"]
    assert not any("is colours" in row.question for row in await council.recent(50))
    assert verify_receipt(encode_receipt(await council.receipt(answer.id))).ok


async def test_a_canary_that_contradicts_itself_is_refused(swarm: Swarm) -> None:
    swarm.add("yes")
    with pytest.raises(InvalidRequest, match="'x'"):
        await swarm.nodes[0].council.examiner.add([Canary("x", "t", "q?", ["a", "b"], "c")])
