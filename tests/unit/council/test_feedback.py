from __future__ import annotations

import msgspec
import pytest

from node.council.feedback import BURST
from protocol.api.council import ConsensusRequest, FeedbackRequest
from protocol.errors import Conflict, InvalidRequest, NotFound, Refused
from protocol.identity import show_id
from protocol.messages import AnswerRated, FeedbackNotice
from tests.unit.council.world import Node, Swarm

CHOICE = ConsensusRequest(question="Which?", choices=["red", "green", "blue"])


async def ratings_after(swarm: Swarm, request: ConsensusRequest, feedback: FeedbackRequest) -> dict[object, float]:
    """The score that agents with each scripted answer got."""
    answer = await swarm.nodes[0].council.ask(request)
    await swarm.nodes[0].council.feedback(msgspec.structs.replace(feedback, id=answer.id))
    return {_key(node, agent): score for node in swarm.nodes for agent, score, _ in node.host.ratings}


def _key(node: Node, agent: bytes) -> object:
    return node.host.script[agent]


async def test_every_node_hears_of_a_good_answer(three: Swarm) -> None:
    answer = await three.nodes[0].council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"]))
    reply = await three.nodes[0].council.feedback(FeedbackRequest(answer.id, 0.8))
    assert (reply.agents, reply.unreachable) == (12, [])
    assert all(len(node.host.ratings) == 4 and node.host.ratings[0][1:] == (0.8, None) for node in three.nodes)


async def test_dissenters_from_a_good_answer_are_rated_down(swarm: Swarm) -> None:
    swarm.add("red", "red")
    swarm.add("red", "blue")
    assert await ratings_after(swarm, CHOICE, FeedbackRequest("", 1.0)) == {"red": 1.0, "blue": 0.0}


async def test_a_bad_answer_says_nothing_of_dissenters_among_three_choices(swarm: Swarm) -> None:
    swarm.add("red", "red")
    swarm.add("red", "blue")
    assert await ratings_after(swarm, CHOICE, FeedbackRequest("", 0.0)) == {"red": 0.0}


async def test_with_the_right_answer_each_agent_is_judged_by_its_own(swarm: Swarm) -> None:
    swarm.add("red", "red")
    swarm.add("red", "blue", None)
    assert await ratings_after(swarm, CHOICE, FeedbackRequest("", 0.0, correct="blue")) == {"red": 0.0, "blue": 1.0, None: 0.5}
    assert {correct for node in swarm.nodes for _, _, correct in node.host.ratings} == {"blue"}


async def test_an_abstention_can_be_rated_with_the_right_answer_only(swarm: Swarm) -> None:
    node = swarm.add("red", "blue")
    answer = await node.council.ask(CHOICE)
    assert answer.status == "abstained"
    with pytest.raises(InvalidRequest, match="abstained"):
        await node.council.feedback(FeedbackRequest(answer.id, 1.0))
    assert (await node.council.feedback(FeedbackRequest(answer.id, 1.0, correct="red"))).agents == 2


async def test_an_answer_is_rated_once(three: Swarm) -> None:
    answer = await three.nodes[0].council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"]))
    await three.nodes[0].council.feedback(FeedbackRequest(answer.id, 1.0))
    with pytest.raises(Conflict, match="rated already"):
        await three.nodes[0].council.feedback(FeedbackRequest(answer.id, 0.0))
    assert sum(len(node.host.ratings) for node in three.nodes) == 12


async def test_nodes_that_cannot_be_told_are_listed(three: Swarm) -> None:
    answer = await three.nodes[0].council.ask(ConsensusRequest(question="Good?", choices=["good", "bad"]))
    three.post.dead.add(three.nodes[2].id)
    reply = await three.nodes[0].council.feedback(FeedbackRequest(answer.id, 1.0))
    assert (reply.agents, reply.unreachable) == (8, [show_id(three.nodes[2].id)])


async def test_an_unknown_id_is_not_found(three: Swarm) -> None:
    with pytest.raises(NotFound, match="on the node that gave it"):
        await three.nodes[0].council.feedback(FeedbackRequest(show_id(bytes(20)), 1.0))
    with pytest.raises(InvalidRequest, match="not an id"):
        await three.nodes[0].council.feedback(FeedbackRequest("nonsense!", 1.0))


@pytest.mark.parametrize("correct", ["purple", 3.0, True, [1.0], ""])
async def test_a_right_answer_that_is_no_answer_is_refused(swarm: Swarm, correct: object) -> None:
    node = swarm.add("red", "red")
    answer = await node.council.ask(CHOICE)
    with pytest.raises(InvalidRequest, match="one of its choices") as caught:
        await node.council.feedback(msgspec.convert({"id": answer.id, "score": 1.0, "correct": correct}, FeedbackRequest))
    assert caught.value.param == "correct"
    assert node.host.ratings == []


async def test_a_member_cannot_repeat_a_rating(three: Swarm) -> None:
    target = three.nodes[1]
    notice = FeedbackNotice(bytes(20), 1.0, target.agents)
    for _ in range(3):
        await three.nodes[0].mailbox.request(target.id, notice, 1.0)
    assert len(target.host.ratings) == 4


async def test_a_member_that_rates_without_end_is_refused(three: Swarm) -> None:
    node, rater = three.nodes[0], three.nodes[1].member
    for number in range(int(BURST)):
        await node.council._feedback.serve(rater, FeedbackNotice(number.to_bytes(20), 0.0, node.agents[:1], b""))
    with pytest.raises(Refused, match="a minute"):
        await node.council._feedback.serve(rater, FeedbackNotice(b"x" * 20, 0.0, node.agents[:1], b""))
    assert len(node.host.ratings) == BURST


async def test_a_rating_whose_answer_is_no_json_is_refused(three: Swarm) -> None:
    with pytest.raises(Refused, match="not JSON"):
        await three.nodes[0].mailbox.request(three.nodes[1].id, FeedbackNotice(bytes(20), 1.0, three.nodes[1].agents, b"\xff{"), 1.0)
    assert three.nodes[1].host.ratings == []


async def test_every_node_learns_how_right_the_answer_was_also_those_that_said_something_else(swarm: Swarm) -> None:
    swarm.add("red", "red", "red")
    swarm.add("blue")
    answer = await swarm.nodes[0].council.ask(CHOICE)
    await swarm.nodes[0].council.feedback(FeedbackRequest(answer.id, 0.0))
    assert [node.host.lessons for node in swarm.nodes] == [[("red", 0.0)], [("red", 0.0)]]


async def test_a_lesson_is_heard_once_from_one_rater(swarm: Swarm) -> None:
    one, other = swarm.add("red"), swarm.add("blue")
    for _ in range(3):
        await one.mailbox.request(other.id, AnswerRated(b"q" * 20, b'"red"', 1.0), 1.0)
    assert other.host.lessons == [("red", 1.0)]
