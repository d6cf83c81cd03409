"""A receipt is its bytes: change one bit anywhere and it is refused, by `moot verify` and by the stand-alone script."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from protocol.calibration import UNCALIBRATED, Calibration, fit
from protocol.receipts import Seat, encode_receipt, export_receipt
from protocol.verification import verify_receipt
from tests.unit.protocol.assembly import Assembly, logprobs, question, vote

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # a flipped bit in a certificate

SCRIPT = Path(__file__).parents[3] / "docs" / "verify_receipt.py"
RECEIPT = Assembly().receipt()
WHOLE = encode_receipt(RECEIPT)


def script(path: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-I", str(SCRIPT), str(path)], capture_output=True, text=True, check=False, timeout=100)
    return done.returncode, done.stdout + done.stderr


def test_any_single_bit_change_is_refused() -> None:
    """Every byte; which of its bits comes from a seeded draw, so that in sum all eight are met hundreds of times."""
    assert verify_receipt(WHOLE).ok
    rng = random.Random(4)
    for index in range(len(WHOLE)):
        changed = bytearray(WHOLE)
        changed[index] ^= 1 << rng.randrange(8)
        assert not verify_receipt(bytes(changed)).ok, index


def test_the_temperature_of_a_question_is_part_of_its_receipt(tmp_path: Path) -> None:
    whole = Assembly(question("text", temperature=0.25), [[vote(n, text="seven")] for n in range(3)], UNCALIBRATED)
    receipt, path = whole.receipt(), tmp_path / "receipt.json"
    path.write_bytes(msgspec.json.encode(export_receipt(receipt)))
    assert verify_receipt(encode_receipt(receipt)).ok
    assert script(path)[0] == 0
    hotter = msgspec.structs.replace(receipt, question=msgspec.structs.replace(receipt.question, temperature=1.5))
    lie = whole.sign(hotter)  # by the convener itself: the id, which all votes are bound to, still tells
    path.write_bytes(msgspec.json.encode(export_receipt(lie)))
    assert "does not belong to this question" in (verify_receipt(encode_receipt(lie)).problem or "")
    assert "the question's id" in script(path)[1]


@pytest.mark.slow
def test_every_bit_of_every_byte() -> None:
    for index in range(8 * len(WHOLE)):
        changed = bytearray(WHOLE)
        changed[index // 8] ^= 1 << (index % 8)
        assert not verify_receipt(bytes(changed)).ok, index


def test_the_script_in_the_docs_is_sixty_lines_and_agrees(tmp_path: Path) -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 60
    path = tmp_path / "receipt.json"
    path.write_bytes(msgspec.json.encode(export_receipt(RECEIPT)))
    assert verify_receipt(WHOLE).ok
    code, said = script(path)
    assert code == 0, said
    assert "'a'" in said


def test_the_script_agrees_on_liars_and_leanings(tmp_path: Path) -> None:
    """Random panels: every rule that decides an answer is met, and the script comes to the same."""
    rng, path = random.Random(11), tmp_path / "receipt.json"
    for _ in range(8):
        rows = [[rng.random() + 0.01 for _ in range(3)] for _ in range(9)]
        votes = [vote(n, logprobs=logprobs(*(x / sum(row) for x in row))) for n, row in enumerate(rows)]
        whole = Assembly(question(choices=["a", "b", "c"]), [votes[:3], votes[3:6], votes[6:]])
        whole.panel = [
            Seat(s.agent_id, s.node_id, float(good), 200.0 - good, n % 3, [1.0, 0.5, -1.5] if n % 2 else [])
            for n, (s, good) in enumerate(zip(whole.panel, rng.choices([0, 10, 60, 120, 190], k=9), strict=True))
        ]
        receipt = whole.receipt(rho=[0.5, 0.2, 0.0])
        path.write_bytes(msgspec.json.encode(export_receipt(receipt)))
        assert verify_receipt(encode_receipt(receipt)).ok
        code, said = script(path)
        assert code == 0, said
        if receipt.outcome.status == "answered":
            assert f"{receipt.outcome.leading!r}, confidence {receipt.outcome.confidence}" in said


def test_the_script_recomputes_the_confidence(tmp_path: Path) -> None:
    """Maps of one step and of more, scores on either side of a centre; and a convener that claims another confidence than follows."""
    rng, path = random.Random(12), tmp_path / "receipt.json"
    for canaries in (20, 40, 200):
        pairs = [(score, rng.random() < score) for score in (rng.uniform(0.6, 1.0) for _ in range(canaries))]
        for p in (0.75, 0.95):
            votes = [[vote(n, logprobs=logprobs(p, 1.0 - p))] for n in range(3)]
            whole = Assembly(votes=votes, calibration=Calibration("isotonic", canaries, bytes(32), 3, "colours", 2, 2, fit(pairs)))
            receipt = whole.receipt()
            path.write_bytes(msgspec.json.encode(export_receipt(receipt)))
            assert receipt.outcome.status == "answered"
            assert f"confidence {receipt.outcome.confidence}" in script(path)[1]
    lie = whole.sign(msgspec.structs.replace(receipt, outcome=msgspec.structs.replace(receipt.outcome, confidence=0.999)))
    path.write_bytes(msgspec.json.encode(export_receipt(lie)))
    assert not verify_receipt(encode_receipt(lie)).ok
    assert "does not hold: the confidence" in script(path)[1]


@pytest.mark.parametrize("kind", ["number", "text"])
def test_the_script_checks_other_kinds_but_their_arithmetic(tmp_path: Path, kind: str) -> None:
    votes = [[vote(n, number=7.0) if kind == "number" else vote(n, text="seven")] for n in range(3)]
    receipt = Assembly(question(kind), votes).receipt()
    path = tmp_path / "receipt.json"
    path.write_bytes(msgspec.json.encode(export_receipt(receipt)))
    code, said = script(path)
    assert code == 0, said
    assert "moot verify" in said


def test_the_script_refuses_what_was_changed(tmp_path: Path) -> None:
    rng, path = random.Random(5), tmp_path / "receipt.json"
    for index in rng.sample(range(len(WHOLE)), 12):
        changed = bytearray(WHOLE)
        changed[index] ^= 1 << rng.randrange(8)
        path.write_text(json.dumps({"receipt": base64.b64encode(changed).decode()}))
        assert script(path)[0] != 0, index
