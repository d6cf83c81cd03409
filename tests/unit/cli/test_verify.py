"""`moot verify`: receipts in files, on standard input, and by id."""

from __future__ import annotations

import io
import json
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from protocol.receipts import export_receipt
from tests.unit.cli.conftest import Moot
from tests.unit.http.fakes import RECEIPT
from tests.unit.protocol.assembly import Assembly, members


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_bytes(msgspec.json.encode(export_receipt(Assembly().receipt())))
    return path


@pytest.fixture(params=["pem", "der"])
def ca(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path, root = tmp_path / "root.crt", members()[0].root
    path.write_bytes(root if request.param == "der" else ssl.DER_cert_to_PEM_cert(root).encode())
    return path


def test_an_honest_receipt_holds_offline(moot: Moot, file: Path, ca: Path) -> None:
    shown = moot("verify", str(file), "--ca", str(ca))
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count("ok  ") == 7
    assert "it does not prove truth" in shown.out


def test_without_a_root_it_says_what_was_not_checked(moot: Moot, file: Path) -> None:
    shown = moot("verify", str(file), "--json")
    assert (shown.code, json.loads(shown.out)["root_known"]) == (0, False)


def test_one_changed_letter_is_found_out(moot: Moot, file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"answer":"a"', b'"answer":"b"'))
    shown = moot("verify", str(file))
    assert shown.code == 1
    assert "no  the summary" in shown.out


def test_a_receipt_of_another_swarm_does_not_hold(moot: Moot, file: Path, ca: Path) -> None:
    file.write_bytes(msgspec.json.encode(export_receipt(Assembly(swarm=1).receipt())))
    assert moot("verify", str(file), "--ca", str(ca)).code == 1


def test_standard_input(moot: Moot, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(file.read_bytes())))
    assert moot("verify", "-").code == 0


def test_by_id_it_is_fetched_and_judged_here(moot: Moot, api: str) -> None:
    shown = moot("verify", RECEIPT, "--api", api)
    assert (shown.code, "not a receipt" in shown.out) == (1, True)
    assert moot("verify", "a" * 32, "--api", api).code == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff" * 100, b'{"moot_receipt": 4, "receipt": "AAAA"}'])
def test_what_is_no_receipt_exits_1(moot: Moot, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert moot("verify", str(path)).code == 1


def test_neither_a_file_nor_an_id_is_a_usage_error(moot: Moot, file: Path, tmp_path: Path) -> None:
    assert moot("verify", "nonsense").code == 2
    assert moot("verify", str(file), "--ca", str(tmp_path / "none")).code == 2
    (tmp_path / "bad.pem").write_text("-----BEGIN nonsense")
    assert moot("verify", str(file), "--ca", str(tmp_path / "bad.pem")).code == 2
    assert moot("verify", str(tmp_path)).code == 1
