"""What a person sees who asks a small swarm."""

from __future__ import annotations

import math

import msgspec
import pytest

from protocol.api.council import ConsensusAnswer, ConsensusRequest, FeedbackRequest
from protocol.ballots import Vote
from protocol.errors import InvalidRequest, NotAvailable, NotFound
from protocol.identity import show_id
from protocol.messages import CanaryVotes, Commitments, LinkMessage
from protocol.receipts import answer_of, decode_receipt, encode_receipt
from protocol.verification import verify_receipt
from tests.unit.council.world import Node, Swarm

GOOD_OR_BAD = ConsensusRequest(question="A colours question: is it good or bad?", choices=["good", "bad"])


async def verified(node: Node, answer: ConsensusAnswer) -> ConsensusAnswer:
    """The receipt of an answer holds, offline, and says the same as the answer."""
    [data] = await node.receipts.recent(1)
    report = verify_receipt(data, node.credentials.root)
    assert report.ok, report.problem
    assert msgspec.structs.replace(answer, elapsed_ms=0.0) == msgspec.structs.replace(answer_of(decode_receipt(data)), elapsed_ms=0.0)
    return answer


async def test_three_nodes_agree(three: Swarm) -> None:
    node = three.nodes[1]
    answer = await verified(node, await node.council.ask(GOOD_OR_BAD))
    assert (answer.status, answer.answer, answer.agreement, answer.degraded) == ("answered", "good", 1.0, False)
    assert len(answer.votes) == 12
    assert {vote.node_id for vote in answer.votes} == {show_id(one.id) for one in three.nodes}
    assert answer.votes[0].probability == pytest.approx(0.9)
    assert (answer.panel, answer.quorum, answer.missing, answer.dissent) == (12, 7, [], [])
    assert 0 <= answer.brain_ms <= answer.elapsed_ms


async def test_dissent_is_shown(swarm: Swarm) -> None:
    node = swarm.add("good", "bad")
    swarm.add("good", "good")
    answer = await verified(node, await node.council.ask(GOOD_OR_BAD))
    assert answer.agreement == 0.75
    assert [vote.answer for vote in answer.dissent] == ["bad"]


async def test_confidence_comes_from_the_canaries_and_says_so(three: Swarm) -> None:
    node = three.nodes[0]
    answer = await verified(node, await node.council.ask(GOOD_OR_BAD))
    assert answer.basis.method == "isotonic"
    assert answer.confidence == pytest.approx(20.5 / 21)  # 20 of 20 right
    assert answer.basis.text == "20 canaries; topic colours 10 of 10 right"


async def test_a_topic_that_the_panel_gets_wrong_shows(three: Swarm) -> None:
    for node in three.nodes:
        node.host.skilled = lambda canary: canary.topic == "colours"
    answer = await three.nodes[0].council.ask(msgspec.structs.replace(GOOD_OR_BAD, question="Do sums: good or bad?"))
    assert (answer.basis.topic, answer.basis.topic_right, answer.basis.topic_canaries) == ("sums", 0, 10)
    assert answer.confidence == pytest.approx(10.5 / 21)
    assert (answer.status, answer.reason, answer.answer) == ("abstained", "LOW_CONFIDENCE", None)
    assert "lean to 'good'" in answer.detail
    assert "0.50" in answer.detail


async def test_a_topic_without_canaries_says_untested(three: Swarm) -> None:
    answer = await three.nodes[0].council.ask(msgspec.structs.replace(GOOD_OR_BAD, question="Something else?"))
    assert answer.basis.text == "20 canaries; untested topic: none of them is like this question"
    assert answer.confidence == pytest.approx(20.5 / 21)  # one map for every question


async def test_without_canary_answers_there_is_no_confidence(three: Swarm) -> None:
    for node in three.nodes:
        node.host.measured = False
    answer = await verified(three.nodes[0], await three.nodes[0].council.ask(GOOD_OR_BAD))
    assert (answer.status, answer.confidence, answer.basis.method) == ("answered", None, "uncalibrated")
    assert "too few agents" in answer.basis.text


async def test_a_map_of_most_voters_says_how_many(three: Swarm) -> None:
    three.nodes[2].host.measured = False
    answer = await three.nodes[0].council.ask(GOOD_OR_BAD)
    assert answer.basis.text.endswith("measured on 8 of 12 voters")


async def test_canary_answers_that_are_none_are_not_believed(three: Swarm) -> None:
    for node in three.nodes[1:]:
        three.post.tamper[(node.id, CanaryVotes)] = lambda answer: CanaryVotes({
            agent: [[math.nan, 0.0] for _ in votes] for agent, votes in answer.votes.items()  # type: ignore[union-attr]
        })  # fmt: skip
    answer = await three.nodes[0].council.ask(GOOD_OR_BAD)
    assert (answer.status, answer.basis.method) == ("answered", "uncalibrated")


async def test_a_node_with_other_canaries_is_heard_but_not_measured(three: Swarm) -> None:
    for node in three.nodes[1:]:
        three.post.tamper[(node.id, CanaryVotes)] = lambda answer: CanaryVotes({})
    answer = await three.nodes[0].council.ask(GOOD_OR_BAD)
    assert len(answer.votes) == 12
    assert answer.basis.method == "uncalibrated"


async def test_nobody_there_is_no_quorum_with_a_receipt(swarm: Swarm) -> None:
    node = swarm.add()
    answer = await verified(node, await node.council.ask(GOOD_OR_BAD))
    assert (answer.status, answer.reason, answer.panel) == ("abstained", "NO_QUORUM", 0)
    assert "moot up" in answer.detail


async def test_text_for_base_models_says_how_to_get_an_instruction_tuned_one(three: Swarm) -> None:
    node = three.nodes[0]
    answer = await verified(node, await node.council.ask(ConsensusRequest(question="Write a poem.")))
    assert (answer.status, answer.reason, answer.answer) == ("abstained", "NOT_CAPABLE", None)
    assert "moot up --model PATH" in answer.detail
    assert "remote:URL#MODEL" in answer.detail


async def test_a_tie_abstains_and_names_both(swarm: Swarm) -> None:
    node = swarm.add("good", "bad")
    answer = await verified(node, await node.council.ask(GOOD_OR_BAD))
    assert (answer.reason, answer.answer, answer.confidence) == ("SPLIT", None, None)
    assert "'good' and 'bad'" in answer.detail


async def test_agents_without_an_opinion_are_shown_but_make_no_quorum(swarm: Swarm) -> None:
    node = swarm.add("good", None, None)
    answer = await verified(node, await node.council.ask(GOOD_OR_BAD))
    assert (answer.reason, len(answer.votes), answer.degraded) == ("NO_QUORUM", 3, False)
    assert "1 of 3 agents gave an opinion and the quorum is 2" in answer.detail


async def test_fewer_agents_than_asked_for_is_degraded(three: Swarm) -> None:
    answer = await three.nodes[0].council.ask(msgspec.structs.replace(GOOD_OR_BAD, agents=20))
    assert answer.degraded
    assert "20 agents were asked for and 12 are here" in answer.detail
    answer = await three.nodes[0].council.ask(msgspec.structs.replace(GOOD_OR_BAD, agents=6))
    assert (answer.panel, answer.degraded) == (6, False)


@pytest.mark.parametrize(
    ("kind", "answers", "expected"),
    [
        ("boolean", [True, True, False], True),
        ("boolean", [False, False, True], False),
        ("number", [4.0, 4.0, 5.0], 4.0),
        ("text", ["Paris.", "paris", "Lyon"], "paris"),
    ],
)
async def test_other_kinds(swarm: Swarm, kind: str, answers: list[bool], expected: object) -> None:
    node = swarm.add(*answers, kinds=[kind])
    request = msgspec.convert({"question": "What?", "kind": kind}, ConsensusRequest)
    answer = await verified(node, await node.council.ask(request))
    assert answer.answer == expected
    assert answer.agreement == pytest.approx(2 / 3)


async def test_a_temperature_reaches_every_agent_and_stands_in_the_receipt(swarm: Swarm) -> None:
    node, other = swarm.add("Paris", kinds=["text"]), swarm.add("Paris", kinds=["text"])
    answer = await verified(node, await node.council.ask(ConsensusRequest(question="What?", temperature=0.25)))
    assert [one.host.questions[0].temperature for one in (node, other)] == [0.25, 0.25]
    assert (await node.council.receipt(answer.id)).question.temperature == 0.25


async def test_receipts_of_an_earlier_version_are_passed_over(three: Swarm) -> None:
    node = three.nodes[0]
    answer = await node.council.ask(GOOD_OR_BAD)
    old = bytes(20)
    await node.receipts.save(old, encode_receipt(await node.council.receipt(answer.id))[:-1])
    assert [one.id for one in await node.council.recent(5)] == [answer.id]
    with pytest.raises(NotAvailable, match="another version"):
        await node.council.receipt(show_id(old))
    with pytest.raises(NotAvailable, match="another version"):
        await node.council.feedback(FeedbackRequest(show_id(old), 1.0))


async def test_embedding(swarm: Swarm) -> None:
    node = swarm.add([1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], kinds=["embedding"], dim=2)
    answer = await verified(node, await node.council.ask(ConsensusRequest(embedding=[0.5, 0.5])))
    assert answer.answer == [1.0, 0.0]
    assert answer.agreement == pytest.approx(2 / 3)
    assert answer.basis.text == "uncalibrated: only choice and boolean questions have canaries"


async def test_an_embedding_of_a_dimension_that_nobody_answers(swarm: Swarm) -> None:
    swarm.add([1.0, 0.0], kinds=["embedding"], dim=2)
    node = swarm.add([1.0, 0.0, 0.0], kinds=["embedding"], dim=3)
    with pytest.raises(InvalidRequest, match="dimension 4: send one of 2, 3") as caught:
        await node.council.ask(ConsensusRequest(embedding=[0.0] * 4))
    assert caught.value.param == "embedding"


async def test_only_agents_of_the_brain_asked_for(swarm: Swarm) -> None:
    node = swarm.add("good", brain="tiny")
    swarm.add("bad", brain="gemma")
    answer = await node.council.ask(msgspec.structs.replace(GOOD_OR_BAD, brain="gemma"))
    assert answer.answer == "bad"
    with pytest.raises(InvalidRequest, match="the brains here are gemma, tiny"):
        await node.council.ask(msgspec.structs.replace(GOOD_OR_BAD, brain="claude"))


async def test_a_host_that_gives_nonsense_costs_only_that_vote(three: Swarm) -> None:
    bad = three.nodes[2].agents[0]
    wrong = [math.nan, math.nan]
    three.nodes[2].host.mend = lambda vote: msgspec.structs.replace(vote, logprobs=wrong) if vote.agent_id == bad else vote
    answer = await verified(three.nodes[0], await three.nodes[0].council.ask(GOOD_OR_BAD))
    assert (answer.answer, len(answer.votes), answer.degraded) == ("good", 11, True)
    assert [(missing.agent_id, missing.reason) for missing in answer.missing] == [
        (show_id(bad), "invalid vote: a log-probability is not finite")
    ]


async def test_a_host_that_votes_for_strangers_is_ignored(three: Swarm) -> None:
    stranger = bytes(20)

    def impersonate(vote: Vote) -> Vote:
        return msgspec.structs.replace(vote, agent_id=stranger)

    three.nodes[2].host.mend = impersonate
    answer = await verified(three.nodes[0], await three.nodes[0].council.ask(GOOD_OR_BAD))
    assert len(answer.votes) == 8
    assert show_id(stranger) not in {vote.agent_id for vote in answer.votes}


async def test_recent_questions_newest_first(three: Swarm) -> None:
    node = three.nodes[0]
    await node.council.ask(GOOD_OR_BAD)
    await node.council.ask(ConsensusRequest(question="Second?", choices=["good", "bad"]))
    assert [row.question for row in await node.council.recent(5)] == ["Second?", GOOD_OR_BAD.question]
    assert await three.nodes[1].council.recent(5) == []


async def test_a_receipt_that_is_not_here(three: Swarm) -> None:
    with pytest.raises(NotFound):
        await three.nodes[0].council.receipt(show_id(bytes(20)))


async def test_a_spare_answers_for_a_node_that_hangs(swarm: Swarm) -> None:
    for _ in range(4):
        swarm.add("good")
    convener = swarm.nodes[0]
    request = ConsensusRequest(question="Good?", choices=["good", "bad"], agents=3, deadline_s=20.0)
    for node in swarm.nodes[1:3]:
        swarm.post.hung = {node.id}
        answer = await convener.council.ask(request)
        assert len(answer.votes) == 3
        assert answer.status == "answered"
        assert not answer.degraded
        assert answer.elapsed_ms < 7_000
        assert all(missing.reason.startswith("slow") for missing in answer.missing)
        data = await convener.receipts.recent(1)
        assert verify_receipt(data[0]).ok


async def test_without_spares_a_hanging_node_is_named_and_the_answer_marked(swarm: Swarm) -> None:
    for _ in range(3):
        swarm.add("good")
    swarm.post.hung = {swarm.nodes[2].id}
    answer = await swarm.nodes[0].council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"], deadline_s=1.0))
    assert (answer.status, answer.degraded, len(answer.missing)) == ("answered", True, 1)
    assert answer.elapsed_ms < 1_500


async def test_an_agent_that_says_ten_megabytes_costs_only_its_own_vote(swarm: Swarm) -> None:
    for _ in range(3):
        swarm.add("a short answer", kinds=["text"])
    for shouting in (0, 1):  # the convener's own agent is no exception
        swarm.nodes[shouting].host.mend = lambda vote: msgspec.structs.replace(vote, text="x" * 10_000_000)
        answer = await swarm.nodes[0].council.ask(ConsensusRequest(question="Say something.", kind="text", quorum=2))
        assert answer.answer == "a short answer"
        assert "more than 16384" in answer.missing[0].reason
        swarm.nodes[shouting].host.mend = lambda vote: vote


async def test_log_probabilities_that_are_no_numbers_cost_only_that_vote(three: Swarm) -> None:
    three.nodes[1].host.mend = lambda vote: msgspec.structs.replace(vote, logprobs=[math.nan] * len(vote.logprobs))
    answer = await three.nodes[0].council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"]))
    assert (answer.answer, len(answer.votes), answer.degraded) == ("good", 8, True)
    assert all("not finite" in missing.reason for missing in answer.missing)


@pytest.mark.parametrize("hours", [-1.1, 1.1])
async def test_a_clock_over_an_hour_off_is_named_and_nothing_hangs(three: Swarm, hours: float, monkeypatch: pytest.MonkeyPatch) -> None:
    node = three.nodes[0]
    right = node.runtime.now
    monkeypatch.setattr(node.council._convener._runtime, "now", lambda: right() + 3600 * hours)
    answer = await node.council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"]))
    assert answer.degraded
    assert all("clock" in missing.reason for missing in answer.missing)


@pytest.mark.parametrize("hours", [-1.1, 1.1])
async def test_a_panel_node_whose_clock_is_over_an_hour_off_costs_only_its_own_votes(
    three: Swarm, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = three.nodes[2]
    right = node.runtime.now
    monkeypatch.setattr(node.council._panel._runtime, "now", lambda: right() + 3600 * hours)
    answer = await verified(three.nodes[0], await three.nodes[0].council.ask(GOOD_OR_BAD))
    assert (answer.status, answer.answer, answer.degraded, len(answer.votes)) == ("answered", "good", True, 8)
    assert {missing.node_id for missing in answer.missing} == {show_id(node.id)}
    assert all("clock" in missing.reason for missing in answer.missing)


async def test_a_node_killed_between_commit_and_reveal_is_named_and_the_answer_marked(three: Swarm) -> None:
    killed = three.nodes[2]

    def die(message: LinkMessage) -> LinkMessage:
        three.post.dead.add(killed.id)
        return message

    three.post.tamper[(killed.id, Commitments)] = die
    answer = await verified(three.nodes[0], await three.nodes[0].council.ask(GOOD_OR_BAD))
    assert (answer.status, answer.answer, answer.degraded, len(answer.votes)) == ("answered", "good", True, 8)
    assert answer.elapsed_ms < 500
    assert all("committed but did not reveal" in missing.reason for missing in answer.missing)
