"""What a command writes is whole or not there; a full disk hides nothing that was found."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cli.files import save
from protocol.errors import UserError
from tests.unit.cli.conftest import Moot


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes the first byte of anything and no more."""
    write = Path.write_bytes

    def some(path: Path, data: bytes) -> int:
        write(path, data[:1])
        if data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return 0

    monkeypatch.setattr(Path, "write_bytes", some)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_what_was_there_and_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text("old")
    with pytest.raises(UserError, match=r"best\.json was not written \(No space left on device\): make room"):
        save(tmp_path / "best.json", b"new", "make room.")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("best.json", "old")]


@pytest.mark.usefixtures("full_disk")
def test_solve_shows_what_it_found_and_says_what_is_missing(moot: Moot, api: str, tmp_path: Path) -> None:
    shown = moot("solve", "steps", "--grid", "2", "--api", api, "--out", str(tmp_path / "out"))
    assert (shown.code, "done" in shown.out) == (1, True)
    assert "best.json was not written" in shown.err
    assert "moot runs files" in shown.err
    assert list((tmp_path / "out").iterdir()) == []


def test_solve_writes_what_the_run_made(moot: Moot, api: str, tmp_path: Path) -> None:
    assert moot("solve", "steps", "--grid", "2", "--api", api, "--out", str(tmp_path)).code == 0
    assert (tmp_path / "best.json").read_bytes() == b"{}"
