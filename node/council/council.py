"""`Council`: all that HTTP and the daemon see of this package."""

from __future__ import annotations

import asyncio
import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import structlog

from node.council.archive import Archive
from node.council.canaries import CanarySet
from node.council.convener import Convener
from node.council.examiner import Examiner, Keep
from node.council.feedback import Feedback
from node.council.ledger import Ledger, Shelf
from node.council.panel import Panel
from node.council.proofs import Proofs
from node.council.receipts import opened, readable
from node.council.request import Asking, check_request
from node.council.seams import AgentHost, Courier, Directory, ReceiptBook, TopicModel
from node.council.trust import Trust
from node.memory import Memory
from node.runtime import Runtime
from protocol.api.council import ConsensusAnswer, ConsensusRequest, FeedbackReply, FeedbackRequest, QuestionSummary
from protocol.calibration import UNCALIBRATED, basis
from protocol.errors import NotAvailable, NotFound, UserError
from protocol.identity import Credentials, describe_leaf, parse_id
from protocol.memories import Recalled, quote
from protocol.messages import AnswerRated, CanaryCall, CouncilCall, FeedbackNotice, ReceiptRequest, RevealCall
from protocol.receipts import Receipt, summary_of

MAX_RECENT = 1_000
MAX_TO_REMEMBER = 64
MAX_QUOTES = 1_024
"""Answers of which is remembered what memories were quoted for them, until somebody rates them; forgotten at exit."""
LEAST_S = 0.05
RECALL_SHARE = 0.2
"""Of the deadline, at most, for finding memories."""
log = structlog.get_logger("council")


class Council:
    """Ask the swarm, answer for this node's agents, keep and rate receipts."""

    def __init__(
        self,
        runtime: Runtime,
        credentials: Callable[[], Credentials],
        exchange: Courier,
        host: AgentHost,
        directory: Directory,
        receipts: ReceiptBook,
        topics: TopicModel,
        canaries: CanarySet,
        shelf: Shelf | None = None,
        keep: Keep | None = None,
        memory: Memory | None = None,
    ) -> None:
        """`credentials` is called for each signature: certificates are renewed while the node runs. Without `shelf` (the DHT) nothing is
        shared with other raters; without `keep` the ledger and the hidden canaries end with the process.
        """
        me = describe_leaf(credentials().leaf)
        proofs = Proofs(runtime, credentials().root)
        self._exchange = exchange
        self._memory = memory
        self._to_remember: asyncio.Queue[Receipt] = asyncio.Queue(MAX_TO_REMEMBER)
        self._quotes: OrderedDict[bytes, list[tuple[str, str]]] = OrderedDict()
        """(text, id) of the memories quoted, by receipt."""
        self._receipts = receipts
        self._runtime = runtime
        self._ledger = Ledger(runtime, credentials().key.public, shelf)
        self._archive = Archive(runtime, me.node_id, exchange, receipts, lambda: credentials().root, shelf)
        self._panel = Panel(runtime, credentials, host)
        self._trust = Trust(runtime, exchange, host, me.node_id, canaries, topics, self._ledger)
        self._convener = Convener(runtime, credentials, exchange, directory, receipts, self._panel, self._trust, proofs)
        self._feedback = Feedback(runtime, me, exchange, host, directory, receipts, self._ledger, topics)
        self.examiner = Examiner(runtime, functools.partial(self._convener.convene, keep=False), self._ledger, keep)

    def register(self) -> None:
        """Serve other nodes from now on."""
        self._exchange.on(CouncilCall, self._panel.call)
        self._exchange.on(RevealCall, self._panel.reveal)
        self._exchange.on(CanaryCall, self._trust.serve)
        self._exchange.on(FeedbackNotice, self._feedback.serve)
        self._exchange.on(AnswerRated, self._feedback.taught)
        self._exchange.on(ReceiptRequest, self._archive.serve)

    async def run(self) -> None:
        """Ask hidden canaries in the wake of questions, keep answers as memories and tell where receipts are, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.examiner.run(), name="canaries")
            tasks.create_task(self._remember(), name="memories")
            tasks.create_task(self._archive.run(), name="receipts")

    @property
    def asking(self) -> int:
        """Questions being convened now."""
        return self._convener.asking

    async def ask(self, request: ConsensusRequest) -> ConsensusAnswer:
        """Put a question to the swarm. The receipt is on disk before this returns. Raises `InvalidRequest` or `NotAvailable`."""
        started = self._runtime.monotonic()
        asking = check_request(request)
        if request.combine == "memories":
            found = await self._memory.vectors(asking.embedding) if self._memory is not None else []
            if found:
                return mean_of(asking, found, (self._runtime.monotonic() - started) * 1000.0)
            asking = replace(asking, agents=1, quorum=1)
        quoted, problem = await self._quoted(asking) if request.remember else ([], "")
        if quoted:
            asking = replace(asking, system=f"{asking.system}\n\n{quote(quoted)}".strip())
        spent = self._runtime.monotonic() - started  # remembering is part of the deadline
        asking = replace(asking, deadline_s=max(LEAST_S, asking.deadline_s - spent))
        receipt, answer = await self._convener.convene(asking)
        self.examiner.asked()
        self._archive.publish(receipt.id)
        if quoted:
            self._quotes[receipt.id] = [(one.entry.text, one.id) for one in quoted]
            if len(self._quotes) > MAX_QUOTES:
                self._quotes.popitem(last=False)
        if request.remember and receipt.outcome.status == "answered" and not self._to_remember.full():
            self._to_remember.put_nowait(receipt)
        elapsed = (self._runtime.monotonic() - started) * 1000.0
        return msgspec.structs.replace(answer, elapsed_ms=elapsed, memories=[one.id for one in quoted], memory_problem=problem)

    async def _quoted(self, asking: Asking) -> tuple[list[Recalled], str]:
        """Memories that fit the deadline and the system text, and why there are none where they could not be looked for."""
        if self._memory is None or not asking.text:
            return [], ""
        share = RECALL_SHARE * asking.deadline_s
        try:
            async with asyncio.timeout(share):
                return await self._memory.recall(asking.text), ""
        except TimeoutError:
            return [], f"Memories were not found within {share:.1f} s of the deadline: they were not waited for."
        except NotAvailable as error:
            return [], str(error)

    async def _remember(self) -> None:
        """Keep answers, one after the other; one that no node takes is let go."""
        while True:
            receipt = await self._to_remember.get()
            question, answer = receipt.question, receipt.outcome.leading
            if self._memory is None:
                continue
            try:
                if question.kind != "embedding":
                    await self._memory.add(question.text, msgspec.json.encode(answer).decode(), receipt=receipt.id)
                elif isinstance(answer, list):
                    await self._memory.add_vector(question.embedding, answer, receipt=receipt.id)
            except (UserError, TimeoutError) as error:
                log.info("an answer was not kept as a memory", reason=str(error))

    async def receipt(self, receipt_id: str) -> Receipt:
        """A receipt of this node, or through the DHT of another. Raises `InvalidRequest`, `NotFound` or `NotAvailable`."""
        data = await self._receipts.load(parse_id(receipt_id))
        if data is not None:
            return opened(data)
        found = await self._archive.find(parse_id(receipt_id))
        if found is None:
            raise NotFound(f"No node within reach has the receipt '{receipt_id}': ask the node that gave the answer.", param="id")
        return found

    async def recent(self, limit: int) -> list[QuestionSummary]:
        """The newest questions that this node convened, newest first."""
        stored = await self._receipts.recent(min(limit, MAX_RECENT))
        return [summary_of(receipt) for data in stored if (receipt := readable(data)) is not None]

    async def feedback(self, request: FeedbackRequest) -> FeedbackReply:
        """Rate an answer of this node and the memories quoted for it. Raises `InvalidRequest`, `NotFound` or `Conflict`."""
        reply = await self._feedback.give(request)
        for text, memory in self._quotes.pop(parse_id(request.id), []) if self._memory is not None else ():
            assert self._memory is not None
            try:
                await self._memory.rate(text, memory, request.score)
            except (UserError, TimeoutError) as error:
                log.info("a quoted memory was not rated", memory=memory, reason=str(error))
        return reply

    def queues(self) -> dict[str, tuple[str, Callable[[], float]]]:
        """Name -> (what it counts, how many wait now), for the metrics."""
        return {
            "memories_waiting": ("Answers waiting to be kept as memories.", self._to_remember.qsize),
            "receipts_waiting": ("Receipts waiting to be announced in the DHT.", lambda: self._archive.waiting),
            "canaries_waiting": ("Hidden canaries waiting to be asked.", lambda: self.examiner.waiting),
            "ballots_open": ("Ballots of this node's agents that wait to be shown.", lambda: self._panel.open),
            "panels_voting": ("Questions that this node's agents are voting on.", lambda: self._panel.voting),
        }


def mean_of(asking: Asking, found: Sequence[tuple[str, list[float]]], elapsed_ms: float) -> ConsensusAnswer:
    """The plain mean of remembered answers, component by component; nobody was asked, so there is no receipt."""
    mean = [math.fsum(column) / len(found) for column in zip(*(vector for _, vector in found), strict=True)]
    return ConsensusAnswer(
        id="",
        status="answered",
        reason=None,
        detail=f"The mean of {len(found)} memories: no agent was asked, so there is no receipt.",
        kind="embedding",
        question=asking.text,
        answer=mean,
        confidence=None,
        basis=basis(UNCALIBRATED, 0, False),
        agreement=None,
        degraded=False,
        votes=[],
        dissent=[],
        missing=[],
        memories=[name for name, _ in found],
        panel=0,
        quorum=0,
        elapsed_ms=elapsed_ms,
        brain_ms=0.0,
    )
