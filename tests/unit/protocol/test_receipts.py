"""A receipt holds or it does not: whatever is changed in it is found."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ballots import sign
from protocol.calibration import UNCALIBRATED, Step
from protocol.errors import Malformed
from protocol.identity import show_id
from protocol.receipts import Receipt, Seat, answer_of, decode_receipt, encode_receipt, export_receipt, import_receipt
from protocol.verdict import Outcome
from protocol.verification import verify_receipt
from tests.unit.protocol.assembly import Assembly, logprobs, members, over_of, question, vote

ROOT = members()[0].root
WHOLE = encode_receipt(Assembly().receipt())


def problem(receipt: Receipt) -> str:
    """Why a receipt does not hold."""
    report = verify_receipt(encode_receipt(receipt), ROOT)
    assert not report.ok
    assert report.problem is not None
    assert report.summary is None
    return report.problem


def test_an_honest_receipt_holds_and_says_what_it_proves() -> None:
    report = verify_receipt(WHOLE, ROOT)
    assert report.ok, report.problem
    assert report.root_known
    assert len(report.checks) == 7
    assert "4 votes match their commitments" in report.checks[5]
    assert "it does not prove truth" in report.text
    assert report.summary is not None
    assert (report.summary.answer, report.summary.agreement) == ("a", 0.75)
    assert report.convener == show_id(members()[0].node_id)


def test_without_a_root_it_says_that_the_swarm_is_not_known() -> None:
    report = verify_receipt(WHOLE)
    assert report.ok
    assert not report.root_known
    assert "not compared with a swarm that you trust" in report.text


def test_a_receipt_of_another_swarm_does_not_hold_here() -> None:
    other = encode_receipt(Assembly(swarm=1).receipt())
    assert verify_receipt(other).ok
    report = verify_receipt(other, ROOT)
    assert report.problem == "its root certificate is not this swarm's"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # some flips make a certificate that is about to be unreadable
@settings(max_examples=300, deadline=None)
@given(index=st.integers(0, len(WHOLE) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_found(index: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[index] ^= flip
    assert not verify_receipt(bytes(changed)).ok


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200) | st.integers(0, len(WHOLE)).map(lambda end: WHOLE[:end]) | st.just(WHOLE + b"\0"))
def test_what_is_no_receipt_never_crashes(data: bytes) -> None:
    assert verify_receipt(data).ok == (data == WHOLE)


def test_another_encoding_of_the_same_content_is_refused() -> None:
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(WHOLE), "a field of the future"])
    with pytest.raises(Malformed, match="canonical"):
        decode_receipt(longer)
    with pytest.raises(Malformed, match="canonical"):
        decode_receipt(b"\xdd" + len(Receipt.__struct_fields__).to_bytes(4, "big") + WHOLE[1 if WHOLE[0] < 0xDC else 3 :])


# ---- a convener that cheats and signs --------------------------------------------------------------------------------


def replace(**fields: Any) -> Callable[[Receipt], Receipt]:
    return lambda receipt: msgspec.structs.replace(receipt, **fields)


def outcome(**fields: Any) -> Callable[[Receipt], Receipt]:
    return lambda receipt: msgspec.structs.replace(receipt, outcome=msgspec.structs.replace(receipt.outcome, **fields))


def calibration(**fields: Any) -> Callable[[Receipt], Receipt]:
    return lambda receipt: msgspec.structs.replace(receipt, calibration=msgspec.structs.replace(receipt.calibration, **fields))


@pytest.mark.parametrize(
    ("cheat", "found"),
    [
        (outcome(leading="b"), "does not follow"),
        (outcome(agreement=1.0), "does not follow"),
        (outcome(confidence=0.99), "does not follow"),
        (outcome(top=0.99), "does not follow"),
        (outcome(status="abstained", reason="SPLIT"), "does not follow"),
        (outcome(reason="NOT_CAPABLE"), "does not follow"),
        (replace(quorum=5), "does not follow"),
        (replace(quorum=64), "does not follow"),
        (replace(calibration=UNCALIBRATED), "does not follow"),
        (calibration(steps=[Step(1.0, 0.9, 5, 4)]), "no map"),
        (calibration(steps=[Step(1.0, 0.9, 400, 400)]), "does not follow"),
        (calibration(steps=[]), "no map"),
        (calibration(method="uncalibrated"), "no map"),
        (replace(missing={bytes(20): "gone"}), "not the whole panel"),
        (lambda r: replace(reveals=r.reveals[:2])(r), "not the whole panel"),
        (lambda r: replace(panel=r.panel[:3])(r), "speaks for an agent"),
        (lambda r: replace(panel=[*r.panel, r.panel[0]])(r), "twice"),
        (lambda r: replace(panel=[*r.panel, Seat(b"x" * 20, r.panel[0].node_id)])(r), "not the whole panel"),
        (lambda r: replace(panel=[Seat(s.agent_id, s.node_id, 50.0) for s in r.panel[:1]] + r.panel[1:])(r), "does not follow"),
        (lambda r: replace(panel=[Seat(s.agent_id, s.node_id, float("nan")) for s in r.panel])(r), "evidence"),
        (lambda r: replace(panel=[Seat(s.agent_id, s.node_id, 1e308) for s in r.panel])(r), "evidence"),
        (lambda r: replace(panel=[Seat(s.agent_id, b"x" * 20) for s in r.panel])(r), "speaks for an agent"),
        (lambda r: replace(reveals=[*r.reveals, r.reveals[0]])(r), "twice"),
        (replace(reveals=[]), "not the whole panel"),
        (replace(rho=[2.0]), "correlation"),
        (replace(votes_root=bytes(32)), "Merkle"),
        (replace(nonce=b"m" * 16), "question's id"),
        (replace(aggregator="1"), "update moot"),
        (replace(version=1), "update moot"),
        (replace(elapsed_ms=float("nan")), "not finite"),
        (lambda r: replace(question=msgspec.structs.replace(r.question, text="Else?"))(r), "question's id"),
        (lambda r: replace(question=msgspec.structs.replace(r.question, asked_at=1e300))(r), "time"),
        (lambda r: replace(question=msgspec.structs.replace(r.question, asked_at=1.0))(r), "expired or not yet valid"),
        (lambda r: replace(question=msgspec.structs.replace(r.question, choices=["a"]))(r), "choices"),
        (replace(root=members(1)[0].root), "not this swarm's"),
    ],
)  # fmt: skip
def test_a_signature_does_not_cover_a_lie(cheat: Callable[[Receipt], Receipt], found: str) -> None:
    assembly = Assembly()
    assert found in problem(assembly.sign(cheat(assembly.receipt())))


def test_a_receipt_signed_by_another_member_than_the_convener() -> None:
    receipt = Assembly().receipt()
    forged = msgspec.structs.replace(receipt, signature=bytes(64))
    assert problem(forged) == "a signature does not hold"


def test_a_reveal_over_another_set_of_commitments_is_found() -> None:
    """The convener leaves a node out of the set after the others have revealed over the whole."""
    assembly = Assembly()
    reveals = [assembly.reveal(node, assembly.commit_set()) for node in range(2)]
    smaller = assembly.commit_set([assembly.commitment(0), assembly.commitment(1)])
    receipt = assembly.receipt(smaller, reveals, missing={assembly.panel[3].agent_id: "gone"})
    assert problem(receipt) == "a signature does not hold"


def test_a_node_that_commits_twice_is_found() -> None:
    assembly = Assembly()
    twice = assembly.commit_set([assembly.commitment(0), assembly.commitment(1), assembly.commitment(1), assembly.commitment(2)])
    assert "committed twice" in problem(assembly.receipt(twice))


def test_a_changed_vote_must_be_listed_as_missing() -> None:
    assembly = Assembly()
    commit_set = assembly.commit_set()
    other = [vote(2, logprobs=logprobs(0.1, 0.9))]
    reveals = [assembly.reveal(0, commit_set), assembly.reveal(1, commit_set, other), assembly.reveal(2, commit_set)]
    assert "not the whole panel" in problem(assembly.receipt(commit_set, reveals))
    honest = assembly.receipt(commit_set, reveals, missing={assembly.panel[2].agent_id: "changed"})
    report = verify_receipt(encode_receipt(honest), ROOT)
    assert report.ok, report.problem
    answer = answer_of(honest)
    assert (answer.degraded, len(answer.votes), len(answer.missing)) == (True, 3, 1)


def test_a_vote_that_was_not_committed_to_is_found() -> None:
    assembly = Assembly()
    commit_set = assembly.commit_set()
    more = [*assembly.votes[2], vote(9, logprobs=logprobs(0.9, 0.1))]
    reveals = [assembly.reveal(0, commit_set), assembly.reveal(1, commit_set), assembly.reveal(2, commit_set, more)]
    assert "not committed to" in problem(assembly.receipt(commit_set, reveals))


def test_a_reveal_signed_by_another_node_is_found() -> None:
    assembly = Assembly()
    commit_set = assembly.commit_set()
    reveals = [assembly.reveal(node, commit_set) for node in range(3)]
    reveals[1] = sign(assembly.nodes[2].key, reveals[1], over_of(commit_set))
    assert problem(assembly.receipt(commit_set, reveals)) == "a signature does not hold"


def test_a_commitment_that_the_convener_made_up_brings_no_vote() -> None:
    """It could say that a silent node committed; without that node's signature under a reveal it gains nothing."""
    assembly = Assembly()
    commit_set = assembly.commit_set()
    reveals = [assembly.reveal(0, commit_set), assembly.reveal(1, commit_set)]
    forged = sign(assembly.convener.key, assembly.reveal(2, commit_set), over_of(commit_set))
    assert problem(assembly.receipt(commit_set, [*reveals, forged])) == "a signature does not hold"
    honest = assembly.receipt(commit_set, reveals, missing={assembly.panel[3].agent_id: "committed, but its vote was not revealed"})
    assert verify_receipt(encode_receipt(honest), ROOT).ok
    assert len(answer_of(honest).votes) == 3


def test_nan_in_a_vote_is_evidence_and_never_counted() -> None:
    nan = float("nan")
    assembly = Assembly(votes=[[vote(0, logprobs=[nan, nan])], [vote(1, logprobs=logprobs(0.9, 0.1))]])
    receipt = assembly.receipt(missing={assembly.panel[0].agent_id: "invalid"}, quorum=1)
    assert verify_receipt(encode_receipt(receipt), ROOT).ok
    assert receipt.outcome.agreement == 1.0


def test_an_empty_panel_has_a_receipt() -> None:
    assembly = Assembly()
    assembly.panel = []
    for reason in (None, "NOT_CAPABLE"):
        receipt = assembly.receipt(assembly.commit_set([]), [], outcome=Outcome("abstained", reason, None, None, None, None))
        assert receipt.outcome.reason == (reason or "NO_QUORUM")
        assert verify_receipt(encode_receipt(receipt), ROOT).ok


def test_a_kind_without_canaries_cannot_be_calibrated() -> None:
    assembly = Assembly(question("number"), [[vote(0, number=3.0)], [vote(1, number=3.0)]])
    assert "no canaries" in problem(assembly.receipt())


# ---- the file form ---------------------------------------------------------------------------------------------------


def test_the_exported_file_is_one_json_object_that_verifies() -> None:
    exported = export_receipt(decode_receipt(WHOLE))
    assert exported["moot_receipt"] == 5
    assert exported["summary"]["answer"] == "a"
    text = json.dumps(exported, indent=2).encode()
    assert verify_receipt(text, ROOT).ok
    assert verify_receipt(exported, ROOT).ok
    assert import_receipt(text) == decode_receipt(WHOLE)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"moot_receipt": 4}, '"moot_receipt": 5'),
        ({"receipt": 7}, '"receipt"'),
        ({"receipt": "not base64!"}, "base64"),
        ({"receipt": base64.b64encode(b"nothing").decode()}, "not a receipt"),
        ({"summary": {}}, "summary"),
        ({"summary": None}, "summary"),
    ],
)
def test_a_file_that_says_something_else_is_refused(fields: dict[str, Any], found: str) -> None:
    report = verify_receipt({**export_receipt(decode_receipt(WHOLE)), **fields})
    assert not report.ok
    assert found in str(report.problem)


def test_a_summary_cannot_lie() -> None:
    exported = export_receipt(decode_receipt(WHOLE))
    exported["summary"]["answer"] = "b"
    assert verify_receipt(exported).problem == "the summary in the file is not what the receipt says"


@pytest.mark.parametrize("data", [b"{", b'{"moot_receipt": 5}', b"{}", b'{"moot_receipt": 5, "receipt": "", "summary": {}}'])
def test_a_damaged_file_is_refused(data: bytes) -> None:
    assert not verify_receipt(data).ok
