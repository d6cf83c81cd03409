"""A receipt made by hand from `protocol` alone: what a convener and two nodes would write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from protocol.aggregate import AGGREGATOR
from protocol.ballots import (
    NO_SIGNATURE,
    Commitment,
    CommitSet,
    Question,
    Reveal,
    Vote,
    commitment_hash,
    question_id,
    set_hash,
    sign,
    vote_hash,
)
from protocol.calibration import Calibration, fit
from protocol.identity import Credentials, NodeKey, issue_keeper, issue_leaf, issue_root
from protocol.receipts import VERSION, Receipt, Seat, settle, sign_receipt, votes_root
from protocol.verdict import Outcome

NOW = 1_780_000_000.0
PAIRS = [(0.6, False), (0.6, True), (0.8, True), (0.9, True)]
"""Four canaries: pooled probability, right?"""
UNDECIDED = Outcome("abstained", None, None, None, None, None)


def logprobs(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


def vote(agent: int = 0, **fields: object) -> Vote:
    """A vote with one field filled."""
    blank = Vote(bytes([agent]) * 20, "scripted", "scripted", "0", [], None, "", [], 1.0, bytes([agent + 1]) * 16)
    return msgspec.structs.replace(blank, **fields)


def question(kind: str = "choice", **fields: object) -> Question:
    text, choices = ("" if kind == "embedding" else "What?"), (["a", "b"] if kind == "choice" else [])
    blank = Question(bytes(20), kind, text, choices, [0.0, 0.0] if kind == "embedding" else [], "", NOW)
    return msgspec.structs.replace(blank, **fields)


def over_of(commit_set: CommitSet) -> bytes:
    """What the reveals of this set are signed over."""
    return set_hash(commit_set.question, [commitment_hash(commitment) for commitment in commit_set.commitments])


@lru_cache(maxsize=4)
def members(swarm: int = 0, count: int = 3) -> tuple[Credentials, ...]:
    """Nodes of one swarm: the first convenes."""
    root_key, keeper_key = NodeKey.from_seed(bytes([swarm]) * 32), NodeKey.from_seed(bytes([swarm + 100]) * 32)
    root = issue_root(root_key, serial=1, now=NOW)
    keeper = issue_keeper(root_key, root, keeper_key.public, serial=2, now=NOW)
    keys = [NodeKey.from_seed(bytes([swarm, number + 1]) * 16) for number in range(count)]
    leaves = [issue_leaf(keeper_key, keeper, key.public, is_keeper=False, serial=3, now=NOW) for key in keys]
    return tuple(Credentials(key, leaf, keeper, root) for key, leaf in zip(keys, leaves, strict=True))


@dataclass
class Assembly:
    """One council, each step of which a test may replace before the next is made."""

    question: Question = field(default_factory=question)
    votes: Sequence[Sequence[Vote]] = ()
    """By node, the convener's own first."""
    calibration: Calibration = field(default_factory=lambda: Calibration("isotonic", 4, bytes(32), 4, "colours", 2, 2, fit(PAIRS)))
    nonce: bytes = b"n" * 16
    missing: dict[bytes, str] = field(default_factory=dict)
    swarm: int = 0

    def __post_init__(self) -> None:
        self.nodes = members(self.swarm)
        self.convener = self.nodes[0]
        self.question = msgspec.structs.replace(self.question, id=question_id(self.question, self.convener.node_id, self.nonce))
        if not self.votes:
            sure, unsure = logprobs(0.9, 0.1), logprobs(0.4, 0.6)
            self.votes = [[vote(0, logprobs=sure), vote(1, logprobs=unsure)], [vote(2, logprobs=sure)], [vote(3, logprobs=sure)]]
        self.panel = [Seat(v.agent_id, node.node_id) for node, own in zip(self.nodes, self.votes, strict=False) for v in own]

    def commitment(self, node: int) -> Commitment:
        own, who = self.votes[node], self.nodes[node]
        agents, hashes = [v.agent_id for v in own], [vote_hash(self.question, v) for v in own]
        return Commitment(self.question.id, list(who.chain), agents, hashes, {}, 5.0)

    def commit_set(self, commitments: Sequence[Commitment] | None = None) -> CommitSet:
        inside = [self.commitment(node) for node in range(len(self.votes))] if commitments is None else list(commitments)
        return CommitSet(self.question.id, list(self.convener.chain), inside)

    def reveal(self, node: int, commit_set: CommitSet, votes: Sequence[Vote] | None = None) -> Reveal:
        who = self.nodes[node]
        shown = list(self.votes[node] if votes is None else votes)
        return sign(who.key, Reveal(commitment_hash(self.commitment(node)), shown, NO_SIGNATURE), over_of(commit_set))

    def receipt(self, commit_set: CommitSet | None = None, reveals: Sequence[Reveal] | None = None, **fields: object) -> Receipt:
        """Settled and signed by the convener; `fields` are changed before it settles."""
        commit_set = self.commit_set() if commit_set is None else commit_set
        shown = [self.reveal(node, commit_set) for node in range(len(self.votes))] if reveals is None else list(reveals)
        draft = Receipt(
            VERSION, AGGREGATOR, self.convener.root, self.nonce, self.question, 0, self.panel, len(self.panel) // 2 + 1,
            commit_set, shown, self.missing, [0.0], votes_root(commit_set), self.calibration, UNDECIDED, 20.0, 5.0,
        )  # fmt: skip
        draft = msgspec.structs.replace(draft, **fields)
        return self.sign(msgspec.structs.replace(draft, outcome=settle(draft).outcome))

    def sign(self, receipt: Receipt) -> Receipt:
        return sign_receipt(self.convener.key, receipt)
