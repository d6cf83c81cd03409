"""`Council`: all that HTTP and the daemon see of this package."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from node.council.canaries import CanarySet
from node.council.convener import Convener
from node.council.feedback import Feedback
from node.council.panel import Panel
from node.council.proofs import Proofs
from node.council.request import check_request
from node.council.seams import AgentHost, Courier, Directory, ReceiptBook, TopicModel
from node.council.trust import Trust
from node.runtime import Runtime
from protocol.api import ConsensusAnswer, ConsensusRequest, FeedbackReply, FeedbackRequest, QuestionSummary
from protocol.errors import NotFound
from protocol.identity import Credentials, describe_leaf, parse_id
from protocol.messages import AnswerRated, CanaryCall, CouncilCall, FeedbackNotice, RevealCall
from protocol.receipts import Receipt, answer_of, decode_receipt, summary_of

MAX_RECENT = 1_000


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
    ) -> None:
        """`credentials` is called for each signature: certificates are renewed while the node runs."""
        me = describe_leaf(credentials().leaf)
        proofs = Proofs(runtime, credentials().root)
        self._exchange = exchange
        self._receipts = receipts
        self._runtime = runtime
        self._panel = Panel(runtime, credentials, host, proofs)
        self._trust = Trust(runtime, exchange, host, me.node_id, canaries, topics)
        self._convener = Convener(runtime, credentials, exchange, directory, receipts, self._panel, self._trust, proofs)
        self._feedback = Feedback(runtime, me, exchange, host, directory, receipts)

    def register(self) -> None:
        """Serve other nodes from now on."""
        self._exchange.on(CouncilCall, self._panel.call)
        self._exchange.on(RevealCall, self._panel.reveal)
        self._exchange.on(CanaryCall, self._trust.serve)
        self._exchange.on(FeedbackNotice, self._feedback.serve)
        self._exchange.on(AnswerRated, self._feedback.taught)

    async def ask(self, request: ConsensusRequest) -> ConsensusAnswer:
        """Put a question to the swarm. The receipt is on disk before this returns. Raises `InvalidRequest` or `NotAvailable`."""
        started = self._runtime.monotonic()
        answer = answer_of(await self._convener.convene(check_request(request)))
        return msgspec.structs.replace(answer, elapsed_ms=(self._runtime.monotonic() - started) * 1000.0)

    async def receipt(self, receipt_id: str) -> Receipt:
        """A receipt of this node. Raises `InvalidRequest` or `NotFound`."""
        data = await self._receipts.load(parse_id(receipt_id))
        if data is None:
            raise NotFound(f"This node has no receipt '{receipt_id}': ask the node that gave the answer.", param="id")
        return decode_receipt(data)

    async def recent(self, limit: int) -> list[QuestionSummary]:
        """The newest questions that this node convened, newest first."""
        stored = await self._receipts.recent(min(limit, MAX_RECENT))
        return [summary_of(decode_receipt(data)) for data in stored]

    async def feedback(self, request: FeedbackRequest) -> FeedbackReply:
        """Rate an answer of this node. Raises `InvalidRequest`, `NotFound` or `Conflict`."""
        return await self._feedback.give(request)
