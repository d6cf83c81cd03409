"""The command line against a real HTTP API with a fake daemon behind it, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from cli.main import run
from node.http.access import Access
from node.http.app import build_app
from node.http.server import ApiServer
from protocol.api.nodes import ApiFile
from tests.unit.http.fakes import ADMIN, NODE, FakeDaemon


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str


Moot = Callable[..., Outcome]


@contextmanager
def serving(daemon: FakeDaemon, access: Access | None = None) -> Iterator[str]:
    """The API's address, while it runs in its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ApiServer(build_app(daemon.services(access)), "127.0.0.1", 0)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        yield server.url
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def api(daemon: FakeDaemon) -> Iterator[str]:
    with serving(daemon) as url:
        yield url


@pytest.fixture
def guarded(daemon: FakeDaemon) -> Iterator[str]:
    """An API that wants a token."""
    with ExitStack() as stack:
        yield stack.enter_context(serving(daemon, Access(ADMIN, api_tokens=("one",))))


@pytest.fixture
def home(api: str, tmp_path: Path) -> Path:
    """A data directory whose daemon is the fake one."""
    (tmp_path / "api.json").write_bytes(msgspec.json.encode(ApiFile(api, ADMIN, 1, NODE)))
    return tmp_path


@pytest.fixture
def moot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Moot:
    """Runs a command line in this process, in an environment without any daemon."""
    for name in ("MOOT_API", "MOOT_API_TOKEN", "MOOT_API_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOOT_DATA_DIR", str(tmp_path / "nothing here"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def invoke(*arguments: str) -> Outcome:
        code = run(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return invoke
