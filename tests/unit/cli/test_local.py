"""Commands that look at this machine: configuration, completion, daemons as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.daemons import is_running, start, stop, wait_until_gone
from protocol.errors import NotAvailable
from tests.unit.cli.conftest import Moot

HOLDER = """
import fcntl, os, sys
with open(sys.argv[1], "a+") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0); lock.write(str(os.getpid())); lock.flush()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a data directory as a daemon does, but answers to nothing."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_daemon_runs_as_long_as_it_holds_the_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert is_running(tmp_path)
    assert not wait_until_gone(tmp_path, 0.05)
    holder.kill()
    assert wait_until_gone(tmp_path, 60)
    assert not is_running(tmp_path)


def test_a_directory_without_a_daemon_needs_no_waiting(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    assert wait_until_gone(tmp_path, 1)
    stop(tmp_path)


def test_a_daemon_without_an_api_is_stopped_by_signal(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    stop(tmp_path)
    assert holder.wait(60) != 0
    assert not is_running(tmp_path)


def test_stop_ends_a_daemon_whose_api_does_not_answer(moot: Moot, tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    (tmp_path / "api.json").write_text(json.dumps({"api": "http://127.0.0.1:1", "admin_token": "x", "pid": 1, "node_id": "n"}))
    shown = moot("stop", "--data-dir", str(tmp_path))
    assert (shown.code, shown.out) == (0, "stopped\n")
    assert "does not answer" in shown.err
    assert holder.wait(10) != 0


def test_a_daemon_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    starting = start(tmp_path / "node", ["--port", "70000"])
    with pytest.raises(NotAvailable, match="--port"):
        starting.ready()
    starting.process.wait(60)


def test_there_is_no_swarm_until_one_was_started(moot: Moot, tmp_path: Path) -> None:
    shown = moot("swarm", "ls", "--data-dir", str(tmp_path))
    assert (shown.code, "moot swarm up" in shown.err) == (1, True)


def test_a_swarm_that_was_stopped_is_listed(moot: Moot, tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / "swarm" / f"node-{number}").mkdir(parents=True)
    shown = moot("swarm", "ls", "--data-dir", str(tmp_path), "--json")
    rows = json.loads(shown.out)
    assert [Path(row["data_dir"]).name for row in rows] == ["node-1", "node-2", "node-10"]
    assert {row["state"] for row in rows} == {"stopped"}
    assert moot("swarm", "down", "--data-dir", str(tmp_path)).out == "stopped 0 daemons\n"


def test_configuration_is_shown_without_its_secrets(moot: Moot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOT_TOKEN", "a secret")
    monkeypatch.setenv("MOOT_PORT", "7400")
    shown = moot("config", "show", "--json")
    assert (json.loads(shown.out)["port"], json.loads(shown.out)["token"]) == (7400, "(set)")
    assert "a secret" not in moot("config", "show").out


def test_a_file_is_checked(moot: Moot, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('name = "alder"\nbrains = ["tiny"]\n')
    bad.write_text("prot = 7400\n")
    assert moot("config", "validate", str(good)).code == 0
    shown = moot("config", "validate", str(bad))
    assert (shown.code, "prot" in shown.err) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(moot: Moot, shell: str) -> None:
    assert "_MOOT_COMPLETE" in moot("completion", shell).out


def test_the_shell_gets_completions(moot: Moot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MOOT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "moot st")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        moot()
