"""Question, commit, reveal, vote: what each side signs, and the rules by which a vote counts.

A question travels as `Question`; a panel node commits to its agents' votes (`Commitment`), the convener answers with the hashes of
all commitments, the node reveals (`Reveal`, signed over that set), the convener writes a receipt (`protocol.receipts`).

    question id       hash of (convener, nonce, every other field): nobody else can use it, and it fixes what was asked
    vote hash         hash of (question, vote), and the vote holds a secret nonce: binding and hiding
    commitment hash   hash of a node's whole commitment
    set hash          hash of (question id, every commitment's hash): what all reveals of a question are signed over
    signature         one a node, under its reveal: Ed25519 over the set hash, its own commitment's hash and its votes (`sign`, `check`)

A commitment has no signature of its own: the link says who sent it, and the reveal's signature covers it. So a receipt proves
everything that a node revealed, and that the whole set stood before. That a node committed and then revealed nothing is the
convener's word only; none of its votes count, and they are listed as missing.

Pure: nonces are arguments. Everything here raises `BadSignature` (a proof that does not hold) or `Malformed` (a shape that the
protocol forbids).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.identity import NodeKey, verify

Id = Annotated[bytes, Meta(min_length=20, max_length=20)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Nonce = Annotated[bytes, Meta(min_length=16, max_length=16)]
Chain = Annotated[list[Annotated[bytes, Meta(max_length=1024)]], Meta(min_length=2, max_length=2)]
"""Membership proof of a signer: (leaf, keeper) certificates in DER."""

KINDS = ("choice", "boolean", "number", "text", "embedding")
NONCE_BYTES = 16
NO_NONCE = bytes(NONCE_BYTES)
NO_SIGNATURE = bytes(64)
MAX_REASON = 256
"""Characters of the reason why an agent's vote is missing."""

MAX_TEXT = 16_384
"""Characters of a text vote."""
NORMAL = 1e-3
"""How far the probabilities of a choice vote may be from summing to 1: float32 models are no closer."""
MAX_NUMBER = 1e100
MAX_COMPONENT = 1e9
"""Largest magnitude of a number vote and of an embedding's component: their sums and squares stay finite."""

MAX_TEMPERATURE = 2.0
MAX_TIME = 250_000_000_000.0
"""Seconds since the epoch, before the year 9999: what certificates can be checked at."""


class Question(Struct, frozen=True, array_like=True):
    """What the council is asked. `id` is unique to this asking (it hashes a nonce of the convener in)."""

    id: Id
    kind: Annotated[str, Meta(max_length=16)]
    """choice | boolean | number | text | embedding"""
    text: Annotated[str, Meta(max_length=65_536)]
    choices: Annotated[list[Annotated[str, Meta(min_length=1, max_length=512)]], Meta(max_length=64)]
    embedding: Annotated[list[float], Meta(max_length=4096)]
    system: Annotated[str, Meta(max_length=8192)]
    asked_at: float
    temperature: float | None = None
    """Text: what every agent samples at, 0 (the likeliest words) to `MAX_TEMPERATURE`; None: each by its own."""


class Vote(Struct, frozen=True, array_like=True):
    """One agent's answer. Exactly the field of the question's kind is filled; all empty means the agent had no opinion."""

    agent_id: Id
    brain: Annotated[str, Meta(max_length=64)]
    family: Annotated[str, Meta(max_length=64)]
    fingerprint: Annotated[str, Meta(max_length=64)]
    logprobs: Annotated[list[float], Meta(max_length=64)]
    """choice and boolean: normalised natural log-probabilities over the choices (boolean: no, yes)."""
    number: float | None
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    embedding: Annotated[list[float], Meta(max_length=4096)]
    ms: Annotated[float, Meta(ge=0)]
    nonce: Nonce


class Commitment(Struct, frozen=True, array_like=True):
    """A node's promise: for each agent the hash of (nonce, question, agent, answer)."""

    question: Id
    chain: Chain
    agents: Annotated[list[Id], Meta(max_length=64)]
    hashes: Annotated[list[Hash], Meta(max_length=64)]
    missing: Annotated[dict[bytes, Annotated[str, Meta(max_length=MAX_REASON)]], Meta(max_length=64)]
    """Agents asked that do not answer, with the reason."""
    waited_ms: Annotated[float, Meta(ge=0)] = 0.0
    """Wall time this node waited for its brains, by its own clock."""


class CommitSet(Struct, frozen=True, array_like=True):
    """All commitments of a question, with the convener's membership proof, as a receipt holds them."""

    question: Id
    chain: Chain
    commitments: Annotated[list[Commitment], Meta(max_length=64)]


class Reveal(Struct, frozen=True, array_like=True):
    """A node's votes, signed over the hash of the commit set."""

    commitment: Hash
    """Hash of the commitment that they were promised in, which names node and question."""
    votes: Annotated[list[Vote], Meta(max_length=64)]
    signature: Signature


_CONTEXT = b"reveal"
_encoder = msgspec.msgpack.Encoder()


# ---- hashes and signatures -------------------------------------------------------------------------------------------


def question_id(question: Question, convener: bytes, nonce: bytes) -> bytes:
    """The id of this asking: 20 bytes of SHA-256 over the convener's node id, its nonce and every other field."""
    content = _encoder.encode(msgspec.structs.replace(question, id=bytes(20)))
    return hashlib.sha256(b"moot question 1" + convener + nonce + content).digest()[:20]


def vote_hash(question: Question, vote: Vote) -> bytes:
    """What a node commits to for one agent; the vote's nonce keeps the answer hidden until it is revealed."""
    return vote_hashes(question, [vote])[0]


def vote_hashes(question: Question, votes: Sequence[Vote]) -> list[bytes]:
    """`vote_hash` of each."""
    asked = b"moot vote 1" + hashlib.sha256(_encoder.encode(question)).digest()
    return [hashlib.sha256(asked + _encoder.encode(vote)).digest() for vote in votes]


def commitment_hash(commitment: Commitment) -> bytes:
    """By which the set holds a commitment and its reveal names it."""
    return hashlib.sha256(b"moot commitment 1" + _encoder.encode(commitment)).digest()


def set_hash(question: bytes, commitments: Iterable[bytes]) -> bytes:
    """What a reveal is signed over, besides its votes. `commitments`: their hashes, in the order of the set."""
    return hashlib.sha256(b"moot commit set 1" + question + b"".join(commitments)).digest()


def sign(key: NodeKey, reveal: Reveal, over: bytes) -> Reveal:
    """The reveal with its signature filled in. `over`: the `set_hash`."""
    message = over + _encoder.encode(msgspec.structs.replace(reveal, signature=NO_SIGNATURE))
    return msgspec.structs.replace(reveal, signature=key.sign(_CONTEXT, message))


def check(public_key: bytes, reveal: Reveal, over: bytes) -> None:
    """The inverse of `sign`. Raises `BadSignature`."""
    message = over + _encoder.encode(msgspec.structs.replace(reveal, signature=NO_SIGNATURE))
    verify(public_key, reveal.signature, _CONTEXT, message)


def same(one: Struct, other: Struct) -> bool:
    """Equal to the bit (`==` would call two equal NaNs different)."""
    return _encoder.encode(one) == _encoder.encode(other)


# ---- rules -----------------------------------------------------------------------------------------------------------


def check_question(question: Question) -> None:
    """A question that a panel node can answer. Raises `Malformed`."""
    choices, components = len(question.choices), len(question.embedding)
    if question.kind not in KINDS:
        raise Malformed(f"'{question.kind}' is no kind of question")
    if (choices < 2) == (question.kind == "choice") or len(set(question.choices)) != choices:
        raise Malformed("choices belong to a choice question, at least two and all different")
    if (components == 0) == (question.text == "") or (components > 0 and question.kind not in ("embedding", "choice")):
        raise Malformed("a question has a text or an embedding; an embedding asks for an embedding or for one of its choices")
    if question.kind == "embedding" and components == 0:
        raise Malformed("an embedding question has an embedding")
    if not all(_within(x, MAX_COMPONENT) for x in question.embedding):
        raise Malformed("a number in the question's embedding is not finite or too large")
    if not 0.0 <= question.asked_at <= MAX_TIME:
        raise Malformed("the question's time is no time")
    if question.temperature is not None and (question.kind != "text" or not 0.0 <= question.temperature <= MAX_TEMPERATURE):
        raise Malformed("a temperature belongs to a text question and lies from 0 to 2")


def check_commitment(commitment: Commitment, question: bytes, asked: Collection[bytes]) -> None:
    """A node's commitment to this question, about agents that it was asked for. Raises `Malformed`."""
    agents = set(commitment.agents)
    if commitment.question != question:
        raise Malformed("a commitment to another question")
    if len(commitment.hashes) != len(commitment.agents) or len(agents) != len(commitment.agents):
        raise Malformed("a commitment needs one hash for each agent")
    if not agents.isdisjoint(commitment.missing) or not all(agent in asked for agent in (*commitment.agents, *commitment.missing)):
        raise Malformed("a commitment speaks for an agent that was not asked, or twice for one")
    if not math.isfinite(commitment.waited_ms):
        raise Malformed("a waiting time that is not finite")


def check_reveal(reveal: Reveal, commitment: Commitment, over: bytes, public_key: bytes | None) -> None:
    """A reveal of no other votes than were committed to, each at most once. Raises `Malformed` or `BadSignature`.

    `over`: `set_hash` of the commit set. `public_key` None: the caller's own, signed a moment ago.
    """
    agents = [vote.agent_id for vote in reveal.votes]
    if reveal.commitment != commitment_hash(commitment):
        raise Malformed("a reveal by another node or of another question than the commitment")
    if len(set(agents)) != len(agents) or not set(agents) <= set(commitment.agents):
        raise Malformed("a reveal holds a vote that was not committed to, or one twice")
    if public_key is not None:
        check(public_key, reveal, over)


def count_votes(question: Question, commitment: Commitment, reveal: Reveal) -> tuple[list[Vote], dict[bytes, str]]:
    """The votes of a checked reveal that count, and for each other agent committed to why its vote does not."""
    revealed = {vote.agent_id: vote for vote in reveal.votes}
    votes: list[Vote] = []
    faults: dict[bytes, str] = {}
    hashes = dict(zip(revealed, vote_hashes(question, list(revealed.values())), strict=True))
    for agent, promised in zip(commitment.agents, commitment.hashes, strict=True):
        vote = revealed.get(agent)
        if vote is None:
            faults[agent] = "committed, but its vote was not revealed"
        elif hashes[agent] != promised:
            faults[agent] = "revealed another vote than it had committed to"
        elif fault := vote_fault(question, vote):
            faults[agent] = f"invalid vote: {fault}"
        else:
            votes.append(vote)
    return votes, faults


def vote_fault(question: Question, vote: Vote) -> str | None:
    """Why this is no vote on this question, or None. A vote with nothing in it is valid: no opinion."""
    filled = {
        "logprobs": bool(vote.logprobs),
        "number": vote.number is not None,
        "text": bool(vote.text),
        "embedding": bool(vote.embedding),
    }
    own = "logprobs" if question.kind in ("choice", "boolean") else question.kind
    if any(full for name, full in filled.items() if name != own):
        return f"it fills another field than '{own}'"
    if len(vote.text) > MAX_TEXT:
        return f"its text has {len(vote.text)} characters, more than {MAX_TEXT}"
    if not math.isfinite(vote.ms):
        return "its time is not finite"
    if vote.logprobs:
        return logprobs_fault(vote.logprobs, len(question.choices) if question.kind == "choice" else 2)
    if vote.number is not None and not _within(vote.number, MAX_NUMBER):
        return "its number is not finite or too large"
    if vote.embedding and len(vote.embedding) != len(question.embedding):
        return f"its embedding has {len(vote.embedding)} components, not {len(question.embedding)}"
    if not all(_within(x, MAX_COMPONENT) for x in vote.embedding):
        return "its embedding holds a number that is not finite or too large"
    return None


def logprobs_fault(logprobs: Sequence[float], choices: int) -> str | None:
    """Why these are no normalised log-probabilities over so many choices, or None."""
    if len(logprobs) != choices:
        return f"it has {len(logprobs)} log-probabilities for {choices} choices"
    if not all(math.isfinite(x) for x in logprobs):
        return "a log-probability is not finite"
    if max(logprobs) > NORMAL or abs(math.fsum(math.exp(x) for x in logprobs) - 1.0) > NORMAL:
        return "its probabilities do not sum to 1"
    return None


def _within(number: float, limit: float) -> bool:
    """Finite and at most `limit` in magnitude (false for NaN)."""
    return abs(number) <= limit
