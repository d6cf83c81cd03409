"""The receipt: everything needed to check an answer without asking anybody.

It holds the question, the panel, the commitments and signed reveals, why each other vote is missing, the calibration, and the
outcome, under the convener's signature. The outcome is a function of the rest (`settle`); the convener and every verifier compute
it with the same code. What people see (`answer_of`) is a function of the receipt alone.

Two forms: canonical MessagePack (what is signed and stored; the only bytes that decode to a receipt are its own encoding), and
one JSON object for files and HTTP, `{"moot_receipt": 5, "summary": {...}, "receipt": BASE64}`, whose summary is for people and
must agree with what it summarises.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from protocol.aggregate import Answer, Tally
from protocol.api.council import ConsensusAnswer, Kind, Missing, QuestionSummary, VoteInfo
from protocol.ballots import (
    MAX_REASON,
    NO_SIGNATURE,
    CommitSet,
    Hash,
    Id,
    Nonce,
    Question,
    Reveal,
    Signature,
    Vote,
    commitment_hash,
    count_votes,
)
from protocol.calibration import Calibration, basis
from protocol.errors import Malformed, TooLarge
from protocol.identity import NodeKey, describe_leaf, show_id, verify
from protocol.leanings import level
from protocol.verdict import GRADABLE, Outcome, conclude, explain
from protocol.weights import merkle_root, weights

VERSION = 5
DEFAULT_PANEL = 15
"""Agents asked when the request does not say how many."""
MAX_RECEIPT = 8 * 1024 * 1024
"""Bytes; 64 votes of 4,096 components are well below."""
CONTEXT = b"receipt"


class Seat(Struct, frozen=True, array_like=True):
    """One agent of the panel, where it lives, and what its vote's weight is computed from (`protocol.weights`)."""

    agent_id: Id
    node_id: Id
    good: float = 0.0
    bad: float = 0.0
    """Right and wrong answers on the question's topic that the convener knows of, capped and decayed."""
    group: Annotated[int, Meta(ge=0, le=63)] = 0
    """Agents of one group err alike; index into `Receipt.rho`."""
    lean: Annotated[list[float], Meta(max_length=64)] = []
    """What is taken out of its log-probabilities (`protocol.leanings`); empty: nothing."""


class Receipt(Struct, frozen=True, array_like=True):
    """The proof of an answer or an abstention."""

    version: int
    aggregator: Annotated[str, Meta(max_length=16)]
    root: Annotated[bytes, Meta(max_length=1024)]
    """The swarm's root certificate in DER."""
    nonce: Nonce
    """With the convener's id and the question it makes the question's id."""
    question: Question
    asked: Annotated[int, Meta(ge=0, le=64)]
    """Votes asked for; 0: as many as the default panel gives."""
    panel: Annotated[list[Seat], Meta(max_length=64)]
    quorum: Annotated[int, Meta(ge=1, le=64)]
    commit_set: CommitSet
    reveals: Annotated[list[Reveal], Meta(max_length=64)]
    missing: Annotated[dict[bytes, Annotated[str, Meta(max_length=MAX_REASON)]], Meta(max_length=64)]
    """Every agent of the panel whose vote does not count, and why."""
    rho: Annotated[list[float], Meta(min_length=1, max_length=64)]
    """By group: how alike its members' errors on canaries are, 0 to 1."""
    votes_root: Hash
    """Merkle root over the hashes committed to, in the order of the commit set."""
    calibration: Calibration
    outcome: Outcome
    elapsed_ms: float
    brain_ms: float
    signature: Signature = NO_SIGNATURE

    @property
    def id(self) -> bytes:
        return self.question.id

    @property
    def chain(self) -> list[bytes]:
        """The convener's membership proof."""
        return self.commit_set.chain


@dataclass(frozen=True, slots=True)
class Settled:
    """What follows from a receipt's evidence."""

    seats: list[Seat]
    votes: list[Vote]
    """The votes that count as they were signed, one for each of `seats`, in the order of the panel."""
    weights: list[float]
    tally: Tally
    """Of the votes with their leanings taken out."""
    outcome: Outcome


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Receipt)


def settle(receipt: Receipt, counted: Mapping[bytes, Vote] | None = None) -> Settled:
    """Count the revealed votes and conclude; reads neither `outcome` (save for NOT_CAPABLE, which evidence cannot show) nor `missing`.

    `counted`: the votes that count, by agent, where the caller has put every reveal through `count_votes` itself.
    """
    valid = _counted(receipt) if counted is None else counted
    seats = [seat for seat in receipt.panel if seat.agent_id in valid]
    votes = [valid[seat.agent_id] for seat in seats]
    capable = bool(receipt.panel) or receipt.outcome.reason != "NOT_CAPABLE"
    weighed = weigh(receipt.question, seats, receipt.rho)
    levelled = [
        msgspec.structs.replace(vote, logprobs=level(vote.logprobs, seat.lean)) if seat.lean else vote
        for vote, seat in zip(votes, seats, strict=True)
    ]
    tally, outcome = conclude(receipt.question, levelled, weighed, receipt.quorum, receipt.calibration, capable=capable)
    return Settled(seats, votes, weighed, tally, outcome)


def _counted(receipt: Receipt) -> dict[bytes, Vote]:
    """The votes that count, by agent."""
    commitments = {commitment_hash(commitment): commitment for commitment in receipt.commit_set.commitments}
    valid: dict[bytes, Vote] = {}
    for reveal in receipt.reveals:
        if reveal.commitment not in commitments:
            raise Malformed("a reveal without a commitment")
        votes, _ = count_votes(receipt.question, commitments[reveal.commitment], reveal)
        valid.update((vote.agent_id, vote) for vote in votes)
    return valid


def weigh(question: Question, seats: Sequence[Seat], rho: Sequence[float]) -> list[float]:
    """What the votes of these seats weigh against each other."""
    return weights([(seat.good, seat.bad, seat.group) for seat in seats], rho, max(2, len(question.choices)))


def votes_root(commit_set: CommitSet) -> bytes:
    """Merkle root over every hash that was committed to."""
    return merkle_root([promised for commitment in commit_set.commitments for promised in commitment.hashes])


def sign_receipt(key: NodeKey, receipt: Receipt) -> Receipt:
    """The receipt under the convener's signature."""
    blank = msgspec.structs.replace(receipt, signature=NO_SIGNATURE)
    return msgspec.structs.replace(blank, signature=key.sign(CONTEXT, _encoder.encode(blank)))


def check_signature(receipt: Receipt, public_key: bytes) -> None:
    """Raises `BadSignature`."""
    blank = msgspec.structs.replace(receipt, signature=NO_SIGNATURE)
    verify(public_key, receipt.signature, CONTEXT, _encoder.encode(blank))


def encode_receipt(receipt: Receipt) -> bytes:
    """The canonical bytes."""
    return _encoder.encode(receipt)


def decode_receipt(data: bytes) -> Receipt:
    """From canonical bytes, and from no others. Raises `TooLarge` or `Malformed`. Checks no signature."""
    if len(data) > MAX_RECEIPT:
        raise TooLarge(f"a receipt of {len(data)} bytes; the limit is {MAX_RECEIPT}")
    try:
        receipt = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"not a receipt: {error}") from error
    if _encoder.encode(receipt) != data:
        raise Malformed("not a receipt in its canonical form")
    return receipt


# ---- for people ------------------------------------------------------------------------------------------------------


def export_receipt(receipt: Receipt) -> dict[str, Any]:
    """The JSON object for a file or HTTP."""
    data = base64.b64encode(encode_receipt(receipt)).decode()
    return {"moot_receipt": VERSION, "summary": msgspec.to_builtins(summary_of(receipt)), "receipt": data}


def import_receipt(data: bytes | Mapping[str, Any]) -> Receipt:
    """From canonical bytes, from the bytes of an exported JSON file, or from the object in it. Raises `TooLarge` or `Malformed`."""
    if isinstance(data, bytes):
        if not data.lstrip().startswith(b"{"):
            return decode_receipt(data)
        if len(data) > 2 * MAX_RECEIPT:
            raise TooLarge(f"a receipt file of {len(data)} bytes; the limit is {2 * MAX_RECEIPT}")
        try:
            data = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise Malformed(f"not a receipt file: {error}") from error
    if data.get("moot_receipt") != VERSION or not isinstance(data.get("receipt"), str):
        raise Malformed(f'not a receipt file: it needs "moot_receipt": {VERSION} and "receipt"')
    try:
        raw = base64.b64decode(data["receipt"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not a receipt file: its receipt is not base64") from error
    receipt = decode_receipt(raw)
    if data.get("summary") != msgspec.to_builtins(summary_of(receipt)):
        raise Malformed("the summary in the file is not what the receipt says")
    return receipt


def summary_of(receipt: Receipt) -> QuestionSummary:
    """One row of a list of questions."""
    outcome = receipt.outcome
    return QuestionSummary(
        id=show_id(receipt.id),
        asked_at=receipt.question.asked_at,
        status=outcome.status,
        reason=outcome.reason,
        kind=cast(Kind, receipt.question.kind),
        question=receipt.question.text,
        answer=_answer(outcome),
        confidence=outcome.confidence,
        agreement=outcome.agreement,
    )


def answer_of(receipt: Receipt, settled: Settled | None = None) -> ConsensusAnswer:
    """All that people are shown of a question. `settled`: what `settle` gave, where the caller has it."""
    settled = settle(receipt) if settled is None else settled
    question, outcome, tally = receipt.question, receipt.outcome, settled.tally
    votes = [
        VoteInfo(show_id(seat.agent_id), show_id(seat.node_id), vote.brain, own.answer, own.probability, weight, vote.ms)
        for seat, vote, weight, own in zip(settled.seats, settled.votes, settled.weights, tally.opinions, strict=True)
    ]
    dissent = [vote for vote, own in zip(votes, tally.opinions, strict=True) if own.answer is not None and not own.agrees]
    why = explain(question, tally, outcome, len(receipt.panel), receipt.quorum)
    lack = _lack(receipt)
    homes = {seat.agent_id: seat.node_id for seat in receipt.panel}
    return ConsensusAnswer(
        id=show_id(receipt.id),
        status=outcome.status,
        reason=outcome.reason,
        detail=" ".join(part for part in (why, lack) if part),
        kind=cast(Kind, question.kind),
        question=question.text,
        answer=_answer(outcome),
        confidence=outcome.confidence,
        basis=basis(receipt.calibration, len(votes), question.kind in GRADABLE),
        agreement=outcome.agreement,
        degraded=bool(lack),
        votes=votes,
        dissent=dissent,
        missing=[Missing(show_id(a), show_id(homes.get(a, b"")), reason) for a, reason in receipt.missing.items()],
        memories=[],
        panel=len(receipt.panel),
        quorum=receipt.quorum,
        elapsed_ms=receipt.elapsed_ms,
        brain_ms=receipt.brain_ms,
    )


def _answer(outcome: Outcome) -> Answer:
    return outcome.leading if outcome.status == "answered" else None


def _lack(receipt: Receipt) -> str:
    """One sentence on how the council was less than asked for; empty when it was not."""
    wanted = receipt.asked or min(DEFAULT_PANEL, len(receipt.panel))
    if receipt.missing and len(receipt.panel) - len(receipt.missing) < min(wanted, len(receipt.panel)):
        reason = next(iter(receipt.missing.values()))
        return f"Degraded: {len(receipt.missing)} of {len(receipt.panel)} votes are missing ({reason})."
    if 0 < len(receipt.panel) < receipt.asked:
        return f"Degraded: {receipt.asked} agents were asked for and {len(receipt.panel)} are here."
    return ""


def convener_of(receipt: Receipt) -> bytes:
    """Node id of the convener, as its (here unchecked) certificate says."""
    return describe_leaf(receipt.chain[0]).node_id
