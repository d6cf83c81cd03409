"""The data directory on a disk that refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node import data_dir
from node.data_dir import DataDir, Ports
from protocol.errors import NotAvailable


def test_a_full_disk_is_a_sentence_not_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataDir(tmp_path)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data_dir, "write_private", full)
    with pytest.raises(NotAvailable, match=r"No space left on device.*make room"):
        data.remember_ports(Ports(1, 2))
    data.close()
