"""Checking a receipt offline: `verify_receipt` is what `moot verify` runs.

It proves who said what, that nobody could see another's vote before committing to its own, that no committed vote was dropped
unseen, and that the arithmetic is right. Each node's one signature is under its reveal; that a node committed and revealed nothing
is the convener's word. It does not prove truth. The calibration map, the evidence behind weights, the panel's choice
and the times are the convener's word: signed, and checked for form only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from protocol.aggregate import AGGREGATOR
from protocol.api.council import QuestionSummary
from protocol.ballots import CommitSet, check_commitment, check_question, check_reveal, commitment_hash, question_id, same, set_hash
from protocol.calibration import rises
from protocol.errors import BadSignature, Malformed, PeerError
from protocol.identity import Member, show_id, swarm_id_of, verify_chain
from protocol.leanings import MAX_LEAN
from protocol.receipts import (
    VERSION,
    Receipt,
    Settled,
    check_signature,
    convener_of,
    import_receipt,
    settle,
    summary_of,
    votes_root,
)
from protocol.verdict import GRADABLE
from protocol.weights import MAX_EVIDENCE

PROVES = "This proves who said what and that the arithmetic is right; it does not prove truth."


class VerifyReport(Struct, frozen=True):
    """What was checked, in order; `problem` is the first check that failed."""

    ok: bool
    checks: list[str]
    problem: str | None
    root_known: bool
    """The caller gave the root to trust; without one the receipt is only consistent in itself."""
    swarm_id: str
    convener: str
    summary: QuestionSummary | None
    text: str


def verify_receipt(data: bytes | Mapping[str, Any], root: bytes | None = None) -> VerifyReport:
    """Check a receipt in any of its forms against a root certificate (DER). Never raises for a bad receipt: the report says it."""
    checks: list[str] = []
    receipt: Receipt | None = None
    try:
        receipt = import_receipt(data)
        checks.append("the receipt is in its one canonical form")
        _check(receipt, root, checks)
    except PeerError as error:
        return _report(receipt, root, checks, str(error))
    return _report(receipt, root, checks, None)


def _report(receipt: Receipt | None, root: bytes | None, checks: list[str], problem: str | None) -> VerifyReport:
    ok = problem is None and receipt is not None
    sound = receipt if ok else None
    if not ok:
        text = f"This receipt does not hold: {problem}."
    elif root is None:
        text = f"{PROVES} Its root was not compared with a swarm that you trust."
    else:
        text = PROVES
    return VerifyReport(
        ok=ok,
        checks=checks,
        problem=problem,
        root_known=root is not None,
        swarm_id=show_id(swarm_id_of(sound.root)) if sound else "",
        convener=show_id(convener_of(sound)) if sound else "",
        summary=summary_of(sound) if sound else None,
        text=text,
    )


def _check(receipt: Receipt, root: bytes | None, checks: list[str]) -> None:
    """Every rule, in order; each success adds a line. Raises `BadSignature` or `Malformed` at the first that fails."""
    if receipt.version != VERSION or receipt.aggregator != AGGREGATOR:
        raise Malformed(f"it is of version {receipt.version} with aggregator {receipt.aggregator}: update moot to check it")
    if root is not None and root != receipt.root:
        raise BadSignature("its root certificate is not this swarm's")
    check_question(receipt.question)
    convener = _member(receipt, receipt.chain)
    check_signature(receipt, convener.public_key)
    checks.append("the convener is a member of the swarm and signed it")
    _check_asking(receipt, convener)
    checks.append("the question's id fixes the convener and every word of the question")
    nodes = _check_commitments(receipt)
    checks.append(f"{len(nodes)} nodes committed before any vote was shown")
    _check_reveals(receipt, nodes)
    checks.append(f"{len(receipt.reveals)} nodes revealed over that set; no vote from outside, none twice")
    settled = settle(receipt)
    _check_missing(receipt, settled)
    checks.append(f"{len(settled.votes)} votes match their commitments; the other {len(receipt.missing)} are listed as missing")
    _check_outcome(receipt, settled)
    checks.append("answer, agreement, confidence and status follow from the votes and the calibration map")


def _member(receipt: Receipt, chain: list[bytes]) -> Member:
    """Certificates are judged at the time the question was asked."""
    return verify_chain(chain, receipt.root, receipt.question.asked_at)


def _check_asking(receipt: Receipt, convener: Member) -> None:
    if receipt.id != question_id(receipt.question, convener.node_id, receipt.nonce):
        raise BadSignature("the question's id does not belong to this question and convener")
    if not all(0.0 <= x <= MAX_EVIDENCE for seat in receipt.panel for x in (seat.good, seat.bad)):
        raise Malformed("the evidence behind a weight is out of range")
    if not all(0.0 <= x <= 1.0 for x in receipt.rho) or not all(seat.group < len(receipt.rho) for seat in receipt.panel):
        raise Malformed("the groups of the panel, or a correlation, are out of range")
    scored = len(receipt.question.choices) if receipt.question.kind == "choice" else 0
    if not all(not s.lean or (len(s.lean) == scored and all(abs(x) <= MAX_LEAN for x in s.lean)) for s in receipt.panel):
        raise Malformed("a leaning does not fit the question or is out of range")
    if len({seat.agent_id for seat in receipt.panel}) != len(receipt.panel):
        raise Malformed("an agent sits on the panel twice")
    if not (math.isfinite(receipt.elapsed_ms) and math.isfinite(receipt.brain_ms)):
        raise Malformed("a time is not finite")


def _check_commitments(receipt: Receipt) -> dict[bytes, Member]:
    """The nodes that committed, by the hash of what they committed to, in the order of the set."""
    commit_set: CommitSet = receipt.commit_set
    if commit_set.question != receipt.id:
        raise Malformed("its commitments are to another question")
    nodes: dict[bytes, Member] = {}
    for commitment in commit_set.commitments:
        node = _member(receipt, commitment.chain)
        asked = {seat.agent_id for seat in receipt.panel if seat.node_id == node.node_id}
        check_commitment(commitment, receipt.id, asked)
        nodes[commitment_hash(commitment)] = node
    if receipt.votes_root != votes_root(commit_set):
        raise Malformed("the Merkle root is not that of the votes committed to")
    if len({node.node_id for node in nodes.values()}) != len(commit_set.commitments):
        raise Malformed("a node committed twice")
    return nodes


def _check_reveals(receipt: Receipt, nodes: dict[bytes, Member]) -> None:
    commitments = dict(zip(nodes, receipt.commit_set.commitments, strict=True))
    seen, over = set[bytes](), set_hash(receipt.id, nodes)
    for reveal in receipt.reveals:
        own = reveal.commitment
        if own not in commitments or own in seen:
            raise Malformed("a node revealed without a commitment, or twice")
        seen.add(own)
        check_reveal(reveal, commitments[own], over, nodes[own].public_key)


def _check_missing(receipt: Receipt, settled: Settled) -> None:
    counted = {seat.agent_id for seat in settled.seats}
    absent = {seat.agent_id for seat in receipt.panel} - counted
    if set(receipt.missing) != absent:
        raise Malformed("the votes that count and the missing ones are not the whole panel, each once")


def _check_outcome(receipt: Receipt, settled: Settled) -> None:
    calibration = receipt.calibration
    if not rises(calibration.steps) or (calibration.method == "isotonic") != bool(calibration.steps):
        raise Malformed("its calibration map is no map")
    if calibration.steps and receipt.question.kind not in GRADABLE:
        raise Malformed("it calibrates a kind of question that has no canaries")
    if not same(settled.outcome, receipt.outcome):
        raise Malformed("the outcome does not follow from the votes")
