"""Files as people have them: what is wrong is said with its place and remedy, and an output is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import pile as piles
from cli.pile import fingerprint, open_pile, write
from protocol.errors import InvalidRequest, NotAvailable, UserError
from protocol.labelling import RowLabel

LABEL = RowLabel("billing", 0.9, 1.0, "", "a=billing")


def made(tmp_path: Path, content: str | bytes, name: str = "in.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def labels(count: int) -> Iterator[RowLabel]:
    return iter([LABEL] * count)


def test_a_missing_file_and_a_missing_column_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nothing\.csv"):
        open_pile(tmp_path / "nothing.csv")
    with pytest.raises(InvalidRequest, match="no column 'body': it has id, text"):
        open_pile(made(tmp_path, "id,text\n1,hello\n"), "body")


@pytest.mark.parametrize("content", ["", "\n\n", "id,text\n"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidRequest, match="no rows"):
        open_pile(made(tmp_path, content))


def test_a_ragged_row_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"Line 3 of .* has 3 fields, the first line 2"):
        list(open_pile(made(tmp_path, "id,text\n1,a\n2,b,c\n")).records())


def test_broken_utf8_shows_how_it_would_read_and_says_what_to_do(tmp_path: Path) -> None:
    path = made(tmp_path, b"text\ncaf\xe9\n")
    with pytest.raises(InvalidRequest, match=r"reads 'text café'.*--encoding cp1252.*iconv"):
        list(open_pile(path).texts())
    assert list(open_pile(path, encoding="cp1252").texts()) == ["café"]
    with pytest.raises(InvalidRequest, match="no encoding 'klingon'"):
        open_pile(path, encoding="klingon")


def test_what_no_encoding_explains_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="--encoding"):
        list(open_pile(made(tmp_path, b"\xff\xfet\x00e")).texts())
    with pytest.raises(InvalidRequest, match="--encoding"):
        list(open_pile(made(tmp_path, b"text\ncaf\xe9 \x81\n")).texts())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_unicode_is_understood_with_a_byte_order_mark_and_utf16_without(tmp_path: Path, encoding: str) -> None:
    assert list(open_pile(made(tmp_path, "text\ncafé\n".encode(encoding))).texts()) == ["café"]


def test_a_row_of_a_megabyte_is_read(tmp_path: Path) -> None:
    (text,) = open_pile(made(tmp_path, f"text\n{'x' * 1_000_000}\n")).texts()
    assert len(text) == 1_000_000


def test_broken_json_lines_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Line 2"):
        list(open_pile(made(tmp_path, '{"text": "a"}\n{"text":\n', "in.jsonl")).records())


def test_parquet_is_read_as_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "in.parquet"
    parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["a", None]}), path)
    assert list(open_pile(path).texts()) == ["a", ""]


def test_a_parquet_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InvalidRequest, match="no Parquet"):
        open_pile(made(tmp_path, b"nonsense", "in.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piles, "find_spec", lambda name: None)
    with pytest.raises(NotAvailable, match="pip install pyarrow"):
        open_pile(made(tmp_path, b"PAR1", "in.parquet"))


def test_the_likely_column_is_guessed(tmp_path: Path) -> None:
    assert open_pile(made(tmp_path, "subject;Body;id\na;hello;1\n")).column == "Body"
    assert open_pile(made(tmp_path, "a,b\nx,much longer\n", "b.csv")).column == "b"


def test_labels_in_another_order_are_the_same_project(tmp_path: Path) -> None:
    path = tmp_path / "pile.txt"
    path.write_text("one\ntwo\n")
    pile = open_pile(path)
    assert fingerprint(pile, ["a", "b"]) == fingerprint(pile, ["b", "a"])
    assert fingerprint(pile, ["a", "b"]) != fingerprint(pile, ["a", "c"])


def test_the_output_keeps_columns_and_order_and_does_not_overwrite_a_label(tmp_path: Path) -> None:
    source = open_pile(made(tmp_path, 'id,text,label\n2,"a, b",old\n1,c,older\n'))
    out = tmp_path / "out.csv"
    assert write(source, out, labels(2)) == 2
    assert out.read_text().splitlines()[:2] == [
        "id,text,label,label_moot,confidence,agreement,abstained,votes",
        '2,"a, b",old,billing,0.9,1.0,,a=billing',
    ]


def test_json_lines_stay_json_lines(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(open_pile(made(tmp_path, '{"text": "é", "deep": [1]}\n', "in.jsonl")), out, labels(1))
    assert json.loads(out.read_text())["deep"] == [1]
    assert json.loads(out.read_text())["label"] == "billing"


def test_a_row_without_its_column_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"Row 2 of .* has no 'text': it has other"):
        list(open_pile(made(tmp_path, '{"text": "a"}\n{"other": "b"}\n', "in.jsonl"), "text").texts())


def test_a_full_disk_leaves_the_old_output_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = open_pile(made(tmp_path, "text\na\n")), tmp_path / "out.csv"
    out.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write(source, out, labels(1))
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
