"""Whatever goes wrong is one sentence on stderr and the right exit code; with --json an error object too."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Moot
from tests.unit.http.fakes import FakeDaemon

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stranger() -> Iterator[str]:
    """A server that answers every connection with something that is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)


def test_without_a_daemon_a_command_says_how_to_start_one(moot: Moot, tmp_path: Path) -> None:
    for where in ((), ("--data-dir", str(tmp_path)), ("--api", "http://127.0.0.1:1")):
        shown = moot("status", *where)
        assert (shown.code, shown.out) == (3, "")
        assert "moot up" in shown.err
        assert shown.err.count("\n") == 1


def test_with_json_the_error_is_an_object_too(moot: Moot) -> None:
    shown = moot("ask", "Why?", "--json")
    assert shown.code == 3
    assert json.loads(shown.out)["error"]["message"] in shown.err


def test_something_else_that_listens_there_is_named(moot: Moot, stranger: str) -> None:
    shown = moot("status", "--api", stranger)
    assert (shown.code, "does not speak HTTP" in shown.err) == (3, True)


def test_a_damaged_api_file_is_named(moot: Moot, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text('{"api": ')
    shown = moot("status", "--data-dir", str(tmp_path))
    assert (shown.code, "api.json" in shown.err) == (3, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("token",),
        ("ask",),
        ("ask", "a", "--nosuch"),
        ("ask", "a", "--agents", "many"),
        ("ask", "a", "--agents", "0"),
        ("ask", "a", "--kind", "poem"),
        ("status", "--api", "ftp://127.0.0.1"),
        ("status", "--api", "127.0.0.1:8337"),
        ("status", "--api", "http://127.0.0.1:port"),
        ("status", "--api", "http://127.0.0.1:1", "--data-dir", "."),
        ("join",),
        ("join", "not an address"),
        ("up", "--port", "70000"),
        ("up", "--config", "no such file"),
        ("up", "--bootstrap", "nowhere"),
        ("config", "validate", "no such file"),
        ("completion", "tcsh"),
    ],
)
def test_wrong_usage_exits_2_with_one_sentence(moot: Moot, arguments: tuple[str, ...]) -> None:
    shown = moot(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("moot: ")
    assert shown.err.count("\n") == 1


def test_usage_errors_come_as_json_too(moot: Moot) -> None:
    shown = moot("ask", "--json")
    assert (shown.code, json.loads(shown.out)["error"]["code"]) == (2, "usage")
    assert moot("ask", "--", "--json").out == ""


def test_help_lists_every_command_and_exits_0(moot: Moot) -> None:
    from cli.main import COMMANDS

    for arguments in ((), ("--help",), ("-h",)):
        shown = moot(*arguments)
        assert shown.code == 0
        assert all(command in shown.out for command in COMMANDS)
    for command in COMMANDS:
        assert moot(command, "--help").code == 0


def test_it_runs_from_a_bare_clone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "cli", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("moot")


def test_a_client_command_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from cli.main import run; "
        f"code = run(['status', '--data-dir', {str(tmp_path)!r}]); "
        "heavy = {'aiohttp', 'asyncio', 'cryptography', 'numpy', 'torch', 'jax', 'node'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}' if code != 3 or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_exits_130_and_cancels_the_question(api: str, daemon: FakeDaemon) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def think() -> None:
        import asyncio

        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    daemon.council.thinking = think
    command = [sys.executable, "-m", "cli", "ask", "Why?", "--api", api]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in the background has it ignored
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process as asking:
        assert started.wait(60)
        asking.send_signal(signal.SIGINT)
        out, err = asking.communicate(timeout=60)
    assert (asking.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert cancelled.wait(60)


def test_a_daemon_that_hangs_is_waited_for_aloud_and_not_for_ever(moot: Moot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.client.NOTICE_S", 0.05)
    monkeypatch.setattr("cli.client.LOOK_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shown = moot("status", "--api", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert shown.code == 3
    assert shown.err.splitlines()[0].startswith("moot: waiting for the daemon")
    assert "does not answer in time" in shown.err.splitlines()[-1]
