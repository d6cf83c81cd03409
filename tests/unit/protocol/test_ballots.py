from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from protocol.ballots import (
    check,
    check_commitment,
    check_question,
    check_reveal,
    commitment_hash,
    count_votes,
    question_id,
    same,
    set_hash,
    sign,
    vote_fault,
    vote_hash,
)
from protocol.errors import BadSignature, Malformed
from tests.unit.protocol.assembly import Assembly, logprobs, over_of, question, vote

HALF = logprobs(0.5, 0.5)


# ---- votes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("choice", {"logprobs": HALF}),
        ("choice", {"logprobs": [x + 4e-4 for x in HALF]}),
        ("choice", {}),
        ("boolean", {"logprobs": HALF}),
        ("number", {"number": -3.5}),
        ("number", {}),
        ("text", {"text": "Yes."}),
        ("text", {}),
        ("embedding", {"embedding": [1.0, 2.0]}),
        ("embedding", {}),
    ],
)
def test_a_valid_vote_has_no_fault(kind: str, fields: dict[str, Any]) -> None:
    assert vote_fault(question(kind), vote(**fields)) is None


@pytest.mark.parametrize(
    ("kind", "fields", "fault"),
    [
        ("choice", {"logprobs": [math.nan, math.nan]}, "not finite"),
        ("choice", {"logprobs": [0.0, -math.inf]}, "not finite"),
        ("choice", {"logprobs": logprobs(0.5, 0.3, 0.2)}, "3 log-probabilities for 2 choices"),
        ("choice", {"logprobs": [-1.0]}, "1 log-probabilities"),
        ("choice", {"logprobs": [-0.1, -0.1]}, "do not sum to 1"),
        ("choice", {"logprobs": [-9.0, -9.0]}, "do not sum to 1"),
        ("choice", {"logprobs": [1e308, -1.0]}, "do not sum to 1"),
        ("choice", {"text": "a"}, "another field than 'logprobs'"),
        ("choice", {"logprobs": HALF, "number": 1.0}, "another field"),
        ("boolean", {"logprobs": logprobs(0.2, 0.3, 0.5)}, "for 2 choices"),
        ("number", {"number": math.inf}, "not finite or too large"),
        ("number", {"number": math.nan}, "not finite or too large"),
        ("number", {"number": 1e101}, "not finite or too large"),
        ("text", {"logprobs": HALF}, "another field than 'text'"),
        ("embedding", {"embedding": [1.0]}, "1 components, not 2"),
        ("embedding", {"embedding": [1.0, math.nan]}, "not finite or too large"),
        ("embedding", {"embedding": [1.0, 1e10]}, "not finite or too large"),
        ("text", {"text": "a", "ms": math.inf}, "time is not finite"),
    ],
)
def test_a_bad_vote_has_a_fault_in_words(kind: str, fields: dict[str, Any], fault: str) -> None:
    assert fault in str(vote_fault(question(kind), vote(**fields)))


# ---- hashes ----------------------------------------------------------------------------------------------------------


def test_the_id_fixes_convener_nonce_and_every_field_of_the_question() -> None:
    asked, me, nonce = question(), b"m" * 20, b"n" * 16
    base = question_id(asked, me, nonce)
    changes = {"kind": "boolean", "text": "Else?", "choices": ["a", "c"], "embedding": [1.0], "system": "Be brief.", "asked_at": 1.0}
    changes |= {"temperature": 0.0}
    assert changes.keys() == {field.name for field in msgspec.structs.fields(asked)} - {"id"}
    others = [question_id(msgspec.structs.replace(asked, **{name: value}), me, nonce) for name, value in changes.items()]
    others += [question_id(asked, b"y" * 20, nonce), question_id(asked, me, b"z" * 16)]
    assert len({base, *others}) == 10
    assert question_id(msgspec.structs.replace(asked, id=b"i" * 20), me, nonce) == base


def test_a_commitment_binds_question_agent_answer_and_nonce() -> None:
    asked, base = question(), vote(1, logprobs=HALF)
    changes: list[dict[str, Any]] = [{"agent_id": b"x" * 20}, {"logprobs": logprobs(0.4, 0.6)}, {"nonce": b"x" * 16}, {"brain": "other"}]
    hashes = [vote_hash(asked, msgspec.structs.replace(base, **change)) for change in changes]
    hashes += [vote_hash(asked, base), vote_hash(question(text="Else?"), base)]
    assert len(set(hashes)) == 6


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_a_reveals_signature_covers_question_set_commitment_and_votes() -> None:
    assembly = Assembly()
    reveal, over, public = assembly.reveal(0, assembly.commit_set()), over_of(assembly.commit_set()), assembly.convener.key.public
    check(public, reveal, over)
    hashes = [commitment_hash(assembly.commitment(node)) for node in range(3)]
    assert over == set_hash(assembly.question.id, hashes)
    other_sets = [
        b"",
        set_hash(b"x" * 20, hashes),
        set_hash(assembly.question.id, hashes[:2]),
        set_hash(assembly.question.id, hashes[::-1]),
    ]
    changed = [msgspec.structs.replace(reveal, commitment=hashes[1]), msgspec.structs.replace(reveal, votes=reveal.votes[:1])]
    for told, under in [*((reveal, other) for other in other_sets), *((told, over) for told in changed)]:
        with pytest.raises(BadSignature):
            check(public, told, under)
    with pytest.raises(BadSignature):
        check(assembly.nodes[1].key.public, reveal, over)


def test_a_commitments_hash_covers_every_field() -> None:
    base = Assembly().commitment(0)
    changes: dict[str, Any] = {
        "question": b"x" * 20, "chain": base.chain[::-1], "agents": base.agents[::-1],
        "hashes": base.hashes[::-1], "missing": {bytes(20): "gone"}, "waited_ms": 6.0,
    }  # fmt: skip
    assert (
        len({commitment_hash(msgspec.structs.replace(base, **{name: value})) for name, value in changes.items()} | {commitment_hash(base)})
        == 7
    )


def test_signing_twice_gives_the_same_bytes() -> None:
    assembly = Assembly()
    reveal, over = assembly.reveal(0, assembly.commit_set()), over_of(assembly.commit_set())
    assert same(sign(assembly.convener.key, reveal, over), reveal)


# ---- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dance"},
        {"choices": []},
        {"choices": ["a"]},
        {"choices": ["a", "a"]},
        {"kind": "text"},
        {"text": ""},
        {"embedding": [1.0]},
        {"asked_at": math.nan},
        {"asked_at": -1.0},
        {"asked_at": math.inf},
        {"temperature": 1.0},
        {"kind": "text", "choices": [], "temperature": 2.1},
        {"kind": "text", "choices": [], "temperature": math.nan},
    ],
)
def test_a_question_without_sense(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        check_question(msgspec.structs.replace(question(), **change))


def test_questions_of_every_kind_make_sense() -> None:
    for kind in ("choice", "boolean", "number", "text", "embedding"):
        check_question(question(kind))
    check_question(question("text", temperature=2.0))


@pytest.mark.parametrize(
    "change",
    [
        {"question": b"x" * 20},
        {"hashes": []},
        {"agents": [bytes(20), bytes(20)], "hashes": [bytes(32)] * 2},
        {"agents": [b"x" * 20, b"y" * 20]},
        {"missing": {bytes(20): "asked, but answered too"}},
        {"missing": {b"stranger": "gone"}},
        {"waited_ms": math.inf},
    ],
)
def test_a_commitment_that_breaks_a_rule(change: dict[str, Any]) -> None:
    assembly = Assembly()
    asked = [one.agent_id for one in assembly.votes[0]]
    check_commitment(assembly.commitment(0), assembly.question.id, asked)
    with pytest.raises(Malformed):
        check_commitment(msgspec.structs.replace(assembly.commitment(0), **change), assembly.question.id, asked)


def test_a_reveal_holds_no_more_than_was_committed_to() -> None:
    assembly = Assembly()
    commitment, commit_set, public = assembly.commitment(1), assembly.commit_set(), assembly.nodes[1].key.public
    honest = assembly.reveal(1, commit_set)
    check_reveal(honest, commitment, over_of(commit_set), public)
    check_reveal(assembly.reveal(1, commit_set, []), commitment, over_of(commit_set), public)  # less is allowed, and shows
    doubled = assembly.reveal(1, commit_set, [*honest.votes, *honest.votes])
    foreign = assembly.reveal(1, commit_set, [*honest.votes, vote(9)])
    for reveal in (doubled, foreign, assembly.reveal(0, commit_set)):
        with pytest.raises(Malformed):
            check_reveal(reveal, commitment, over_of(commit_set), public)
    with pytest.raises(BadSignature):
        check_reveal(honest, commitment, over_of(assembly.commit_set([commitment])), public)


def test_votes_that_do_not_count_have_a_reason() -> None:
    assembly = Assembly()
    commitment, commit_set = assembly.commitment(0), assembly.commit_set()
    changed = msgspec.structs.replace(assembly.votes[0][0], ms=2.0)
    votes, faults = count_votes(assembly.question, commitment, assembly.reveal(0, commit_set, [changed]))
    assert votes == []
    assert list(faults.values()) == ["revealed another vote than it had committed to", "committed, but its vote was not revealed"]


def test_structs_that_hold_nan_can_be_the_same() -> None:
    assert same(vote(1, logprobs=[math.nan]), vote(1, logprobs=[math.nan]))
    assert not same(vote(1, logprobs=[0.0]), vote(1, logprobs=[-0.0]))
