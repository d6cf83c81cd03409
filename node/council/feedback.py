"""A person's rating of an answer, back to the agents that voted.

The score rates the answer: agents that gave it get the score, agents that dissented get the reverse where that follows (the answer
was at least half right, or there were only two answers to give). With the right answer at hand each agent is judged by its own
answer, and one without an opinion is told too, so that it can learn. One rating a receipt and rater; the rater is the node asked.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
import structlog

from node.council.ledger import Ledger
from node.council.receipts import opened
from node.council.seams import AgentHost, Courier, Directory, ReceiptBook, TopicModel
from node.runtime import Runtime
from protocol.aggregate import Answer, canonical
from protocol.api.council import FeedbackReply, FeedbackRequest
from protocol.ballots import MAX_COMPONENT, MAX_NUMBER, Question
from protocol.errors import Conflict, InvalidRequest, Malformed, NotFound, PeerError, Refused, UserError
from protocol.identity import Member, NodeId, parse_id, show_id
from protocol.messages import AnswerRated, Done, FeedbackNotice
from protocol.receipts import Receipt, settle

TELL_S = 5.0
MAX_REMEMBERED = 16_384
NEUTRAL = 0.5
BURST, A_MINUTE = 120.0, 60.0
"""Ratings that one member may send at once, and on the long run a minute; in an open swarm a member is not a person."""
MAX_RATERS = 4_096
Rating = tuple[NodeId, float, bytes]
"""(node, score, agent)"""

log = structlog.get_logger("council")
_answer = msgspec.json.Decoder(str | float | bool | list[float] | None)


class Feedback:
    """Both sides: `give` tells the nodes, `serve` is told."""

    def __init__(
        self,
        runtime: Runtime,
        me: Member,
        courier: Courier,
        host: AgentHost,
        directory: Directory,
        receipts: ReceiptBook,
        ledger: Ledger,
        topics: TopicModel,
    ) -> None:
        self._ledger = ledger
        self._topics = topics
        self._runtime = runtime
        self._me = me
        self._courier = courier
        self._host = host
        self._directory = directory
        self._receipts = receipts
        self._giving: set[bytes] = set()
        self._allowance: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        """By rater: ratings left, as of a monotonic time."""
        self._rated: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()
        """(rater, question, agent) already rated here."""

    async def give(self, request: FeedbackRequest) -> FeedbackReply:
        """Rate a receipt of this node. Raises `InvalidRequest`, `NotFound`, `NotAvailable` or `Conflict`."""
        receipt_id = parse_id(request.id)
        data = await self._receipts.load(receipt_id)
        if data is None:
            raise NotFound(f"This node has no receipt '{request.id}': rate an answer on the node that gave it.", param="id")
        if receipt_id in self._giving or await self._receipts.rated(receipt_id, self._me.node_id):
            raise Conflict("This answer was rated already: one rating an answer.", code="already_rated", param="id")
        receipt = opened(data)
        ratings = rate(receipt, request.score, check_correct(receipt.question, request.correct))
        self._giving.add(receipt_id)
        try:
            agents, unreachable = await self._tell(receipt_id, ratings, msgspec.json.encode(request.correct))
            if receipt.outcome.status == "answered" and request.correct is None:
                await self._teach(receipt, request.score)
            if agents:  # where nobody heard it, it can be given again
                await self._receipts.save_rating(receipt_id, self._me.node_id, request.score, self._runtime.now())
                topic = self._topics.infer(receipt.question.text, receipt.question.choices or ["no", "yes"]) or ""
                for _, score, agent in ratings:
                    self._ledger.rate(agent, topic, score)
        finally:
            self._giving.discard(receipt_id)
        return FeedbackReply(request.id, agents, [show_id(node) for node in unreachable])

    async def serve(self, rater: Member, notice: FeedbackNotice) -> Done:
        """Handler: a member rates agents of this node, each at most once a question. Raises `Malformed` or `Refused`."""
        self._admit(rater)
        try:
            correct = _answer.decode(notice.correct) if notice.correct else None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Malformed(f"the right answer in a rating is not JSON: {error}") from error
        fresh = [agent for agent in notice.agents if (rater.node_id, notice.question_id, agent) not in self._rated]
        for agent in fresh:
            self._rated[(rater.node_id, notice.question_id, agent)] = None
            if len(self._rated) > MAX_REMEMBERED:
                self._rated.popitem(last=False)
        return Done(await self._host.rate(fresh, notice.score, correct, notice.question_id, rater.node_id) if fresh else 0)

    async def taught(self, rater: Member, notice: AnswerRated) -> Done:
        """Handler: the answer of a council that this node sat on was rated, once a question and rater. Raises `Malformed` or `Refused`."""
        self._admit(rater)
        try:
            answer = _answer.decode(notice.answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Malformed(f"the answer in a rating is not JSON: {error}") from error
        key = (rater.node_id, notice.question_id, b"")
        if key in self._rated:
            return Done()
        self._rated[key] = None
        if len(self._rated) > MAX_REMEMBERED:
            self._rated.popitem(last=False)
        return Done(await self._host.answer_rated(notice.question_id, answer, notice.score, rater.node_id))

    def _admit(self, rater: Member) -> None:
        """Takes one from the rater's allowance (a token bucket). Raises `Refused`; this node's own people are never refused."""
        if rater.node_id == self._me.node_id:
            return
        now = self._runtime.monotonic()
        left, at = self._allowance.pop(rater.node_id, (BURST, now))
        left = min(BURST, left + (now - at) * A_MINUTE / 60.0)
        self._allowance[rater.node_id] = (max(0.0, left - 1.0), now)
        if len(self._allowance) > MAX_RATERS:
            self._allowance.popitem(last=False)
        if left < 1.0:
            raise Refused("busy", f"more than {A_MINUTE:g} ratings a minute from one member: slow down")

    async def _teach(self, receipt: Receipt, score: float) -> None:
        """Tell every node of the panel how right the council's answer was, also those whose agents said something else."""
        notice = AnswerRated(receipt.id, msgspec.json.encode(receipt.outcome.leading), score)
        async with asyncio.TaskGroup() as tasks:
            for node in dict.fromkeys(NodeId(seat.node_id) for seat in settle(receipt).seats):
                tasks.create_task(self._notify(node, notice), name="teaching")

    async def _tell(self, question: bytes, ratings: Sequence[Rating], correct: bytes) -> tuple[int, list[NodeId]]:
        """How many agents were rated, and the nodes that could not be told."""
        groups: dict[tuple[NodeId, float], list[bytes]] = {}
        for node, score, agent in ratings:
            groups.setdefault((node, score), []).append(agent)
        async with asyncio.TaskGroup() as tasks:
            telling = {
                (node, score): tasks.create_task(self._notify(node, FeedbackNotice(question, score, agents, correct)))
                for (node, score), agents in groups.items()
            }
        counts = {key: task.result() for key, task in telling.items()}
        unreachable = dict.fromkeys(node for (node, _), count in counts.items() if count is None)
        return sum(count or 0 for count in counts.values()), list(unreachable)

    async def _notify(self, node: NodeId, notice: FeedbackNotice | AnswerRated) -> int | None:
        """Agents rated there; None when the node could not be told."""
        try:
            if node == self._me.node_id:
                serve = self.serve(self._me, notice) if isinstance(notice, FeedbackNotice) else self.taught(self._me, notice)
                return (await serve).count
            if not self._directory.alive(node):
                return None
            reply = await self._courier.request(node, notice, TELL_S)
        except (PeerError, UserError) as error:
            log.info("feedback not delivered", node=show_id(node), reason=str(error))
            return 0 if isinstance(error, Refused) else None
        most = len(notice.agents) if isinstance(notice, FeedbackNotice) else 0
        return min(reply.count, most) if isinstance(reply, Done) else 0


def rate(receipt: Receipt, score: float, correct: Answer) -> list[Rating]:
    """What each agent that voted gets for it; agents of which nothing follows are left out. Raises `InvalidRequest`."""
    if receipt.outcome.status != "answered" and correct is None:
        raise InvalidRequest("The council abstained, so there is no answer to rate: say which is right with 'correct'.", param="correct")
    settled, question = settle(receipt), receipt.question
    binary = question.kind == "boolean" or len(question.choices) == 2
    ratings: list[Rating] = []
    for seat, own in zip(settled.seats, settled.tally.opinions, strict=True):
        given: float | None
        if correct is not None and question.kind not in ("text", "embedding"):
            given = NEUTRAL if own.answer is None else float(own.answer == correct)
        elif own.answer is None:
            given = NEUTRAL if correct is not None else None
        elif own.agrees:
            given = score
        else:
            given = 1.0 - score if binary or score >= NEUTRAL else None
        if given is not None:
            ratings.append((NodeId(seat.node_id), given, seat.agent_id))
    return ratings


def check_correct(question: Question, correct: Answer) -> Answer:
    """The right answer in the form of the question's kind. Raises `InvalidRequest`."""
    if correct is None:
        return None
    if question.kind == "choice" and correct in question.choices:
        return correct
    if question.kind == "boolean" and isinstance(correct, bool):
        return correct
    if question.kind == "number" and isinstance(correct, (int, float)) and not isinstance(correct, bool) and abs(correct) <= MAX_NUMBER:
        return canonical(correct)
    if question.kind == "text" and isinstance(correct, str) and correct.strip():
        return correct
    if question.kind == "embedding" and isinstance(correct, list) and len(correct) == len(question.embedding):
        finite = all(abs(x) <= MAX_COMPONENT for x in correct)
        if finite:
            return correct
    raise InvalidRequest(f"'correct' is no answer to this question: it needs {_form(question)}.", param="correct")


def _form(question: Question) -> str:
    return {
        "choice": f"one of its choices ({', '.join(question.choices)})",
        "boolean": "true or false",
        "number": "a finite number",
        "text": "a text",
        "embedding": f"a list of {len(question.embedding)} finite numbers",
    }[question.kind]
