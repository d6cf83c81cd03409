"""Piles of text as files: CSV, JSON Lines, Parquet (with pyarrow) or plain lines; read as a stream, written whole or not at all.

The output is UTF-8, keeps the input's columns and order and adds `label, confidence, agreement, abstained, votes`.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TextIO

from protocol.errors import InvalidRequest, NotAvailable, UserError
from protocol.labelling import RowLabel

Kind = Literal["csv", "jsonl", "lines", "parquet"]
KINDS: dict[str, Kind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LIKELY = ("text", "body", "message", "content", "comment", "question", "description", "subject")
ADDED = ("label", "confidence", "agreement", "abstained", "votes")
MAX_FIELD = 16 * 1024 * 1024
"""Characters of one CSV field; the csv module's own limit is 128 KB."""
GUESS_ROWS = 50
GUESS_BYTES = 1_024

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pile:
    """One file, understood."""

    path: Path
    kind: Kind
    column: str
    columns: tuple[str, ...]
    delimiter: str = ","
    encoding: str = "utf-8-sig"

    def records(self) -> Iterator[Record]:
        """Every row with its columns, one at a time. Raises `InvalidRequest` with the line number for a row that does not fit."""
        return _records(self.path, self.kind, self.delimiter, self.encoding)

    def texts(self) -> Iterator[str]:
        """The column to label."""
        for number, record in enumerate(self.records(), 1):
            if self.column not in record:
                raise InvalidRequest(f"Row {number} of {self.path} has no '{self.column}': it has {', '.join(record)}.")
            yield str(record[self.column] if record[self.column] is not None else "")


def open_pile(path: Path, column: str | None = None, encoding: str | None = None) -> Pile:
    """Find out what a file is; `encoding` is one of Python's names.

    Raises `NotAvailable` or `InvalidRequest`, each saying what to do.
    """
    if not path.is_file():
        kind = "a folder, not a file: give the file in it" if path.is_dir() else "not there: check the path"
        raise InvalidRequest(f"{path} is {kind}.", param="file")
    kind = KINDS.get(path.suffix.lower(), "lines")
    if kind == "parquet" and find_spec("pyarrow") is None:
        raise NotAvailable(f"{path} is Parquet, and pyarrow is not installed: `pip install pyarrow`, or convert the file to CSV.")
    encoding = _encoding(path, kind) if encoding is None else _known(encoding)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(path, encoding) if kind == "csv" else ","
    first = [record for _, record in zip(range(GUESS_ROWS), _records(path, kind, delimiter, encoding), strict=False)]
    if not first:
        raise InvalidRequest(f"{path} has no rows: give a file with text in it.")
    columns = tuple(dict.fromkeys(name for record in first for name in record))
    if column is not None and column not in columns:
        raise InvalidRequest(f"{path} has no column '{column}': it has {', '.join(columns)}.", param="text-column")
    return Pile(path, kind, column or _guess(first, columns), columns, delimiter, encoding)


def fingerprint(pile: Pile, labels: Iterable[str]) -> str:
    """What tells this project from others: the file's content, its column and the labels given, in whatever order."""
    digest = hashlib.sha256()
    with pile.path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    digest.update(json.dumps([pile.column, sorted(labels)]).encode())
    return digest.hexdigest()


def check_place(pile: Pile, out: Path) -> None:
    """Whether the output can go there, before anything is labelled. Raises `InvalidRequest`."""
    if out.exists() and out.samefile(pile.path):
        raise InvalidRequest(f"--out names the input itself, {out}: choose another file, the input is never written over.", param="out")
    if out.is_dir():
        raise InvalidRequest(f"--out names a directory, {out}: add the name of a file.", param="out")
    if not out.parent.is_dir():
        raise InvalidRequest(f"There is no directory {out.parent} for the output: make it, or choose another with --out.", param="out")
    if not os.access(out.parent, os.W_OK):
        raise InvalidRequest(f"Nothing can be written in {out.parent}: choose another place with --out.", param="out")


def write(pile: Pile, out: Path, labels: Iterator[RowLabel]) -> int:
    """The input with labels added, put in place at once when all of it is written; returns the rows.

    Raises `UserError` when the disk is full: what stood there before is untouched.
    """
    part = out.with_name(f".{out.name}.part")
    taken = {name: f"{name}_moot" if name in pile.columns else name for name in ADDED}
    try:
        with part.open("w", encoding="utf-8", newline="") as stream:
            count = _write_rows(pile, stream, labels, taken)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(out)
    except OSError as error:
        remedy = "free some space or choose another place" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another place"
        raise UserError(f"{out} cannot be written ({error.strerror}): {remedy} with --out; what was learnt is kept.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return count


def _write_rows(pile: Pile, stream: TextIO, labels: Iterator[RowLabel], names: dict[str, str]) -> int:
    merged = (record | _added(label, names) for record, label in zip(pile.records(), labels, strict=True))
    count = 0
    if pile.kind == "jsonl":
        for record in merged:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
        return count
    writer = csv.DictWriter(stream, [*pile.columns, *names.values()], delimiter=pile.delimiter)
    writer.writeheader()
    for record in merged:
        writer.writerow(record)
        count += 1
    return count


def _added(label: RowLabel, names: dict[str, str]) -> Record:
    return {shown: getattr(label, name) for name, shown in names.items()}


def _records(path: Path, kind: Kind, delimiter: str, encoding: str) -> Iterator[Record]:
    if kind == "parquet":
        yield from _parquet(path)
        return
    with path.open(encoding=encoding, newline="" if kind == "csv" else None) as stream:
        try:
            if kind == "csv":
                yield from _csv(path, stream, delimiter)
            elif kind == "jsonl":
                yield from _jsonl(path, stream)
            else:
                yield from ({"text": line.rstrip("\n")} for line in stream if line.strip())
        except UnicodeError as error:
            raise InvalidRequest(_not_text(path, encoding, error), param="encoding") from error


def _csv(path: Path, stream: TextIO, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(stream, delimiter=delimiter)
    try:
        columns = next(reader, [])
        if len(set(columns)) != len(columns):
            raise InvalidRequest(f"{path} names a column twice in its first line: give each column its own name.")
        for row in reader:
            if not row:
                continue
            if len(row) != len(columns):
                raise InvalidRequest(
                    f"Line {reader.line_num} of {path} has {len(row)} fields, the first line {len(columns)}: "
                    "put quotes round fields that hold the separator."
                )
            yield dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise InvalidRequest(f"Line {reader.line_num} of {path} is not CSV ({error}): correct it.") from error


def _jsonl(path: Path, stream: TextIO) -> Iterator[Record]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidRequest(f"Line {number} of {path} is not JSON: correct or remove it.") from error
        if not isinstance(record, dict):
            raise InvalidRequest(f'Line {number} of {path} is not a JSON object: write {{"text": ...}}.')
        yield record


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1_024):
            yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise InvalidRequest(f"{path} is no Parquet file, or a damaged one ({error}): write it anew or convert it to CSV.") from error


def _encoding(path: Path, kind: Kind) -> str:
    """What the byte order mark says; without one UTF-16 by its zero bytes, else UTF-8. Other encodings are never guessed silently.

    Raises `InvalidRequest` for what is no text at all.
    """
    with path.open("rb") as stream:
        start = stream.read(GUESS_BYTES)
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for name, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if len(zeros) > 1 and zeros.count(0) > 0.4 * len(zeros):
            return name
    if b"\0" in start and kind != "parquet":
        raise InvalidRequest(f"{path} is not text: it holds zero bytes. Save it as CSV, JSON Lines, Parquet or plain lines.")
    return "utf-8-sig"


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise InvalidRequest(f"There is no encoding '{encoding}': utf-8, utf-16, cp1252 and latin-1 are some.", param="encoding") from error


def _not_text(path: Path, encoding: str, error: UnicodeError) -> str:
    """What is wrong, and how it would read as Windows-1252, which is what such files usually are."""
    if not isinstance(error, UnicodeDecodeError):
        return f"{path} is not text in {encoding} ({error}): name the right one with --encoding."
    near = error.object[max(0, error.start - 20) : error.start + 20].decode("cp1252", errors="replace")
    shown = " ".join(near.split())
    return (
        f"{path} is not text in {encoding.removesuffix('-sig').upper()}; in Windows-1252 the place reads '{shown}': "
        "if that is right give --encoding cp1252, else name the right one or convert it with `iconv -t utf-8`."
    )


def _delimiter(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding, errors="replace") as stream:
        head = stream.readline(65_536)
    return max(",;\t", key=head.count)


def _guess(records: list[Record], columns: tuple[str, ...]) -> str:
    """A column with a likely name, else the one with the longest texts."""
    lowered = {name.lower(): name for name in columns}
    named = next((lowered[name] for name in LIKELY if name in lowered), None)
    return named or max(columns, key=lambda name: sum(len(str(record.get(name) or "")) for record in records))
