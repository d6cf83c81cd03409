"""`moot up` and `moot join`, with a daemon that only notes what it was given."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from node.config import Config
from protocol.api.nodes import Ready
from protocol.errors import Conflict, MootError, NotAuthorised
from tests.unit.cli.conftest import Moot
from tests.unit.http.fakes import NODE


@dataclass
class NotedDaemon:
    configs: list[Config] = field(default_factory=list)
    failure: MootError | None = None

    def run(
        self,
        config: Config,
        on_ready: Callable[[Ready], None],
        on_progress: Callable[[str, str, float], None],
        on_notice: Callable[[str], None],
    ) -> int:
        self.configs.append(config)
        if self.failure is not None:
            raise self.failure
        on_notice("a sentence for people")
        for stage, fraction in (("reading weights", 0.0), ("reading weights", 0.5), ("warming up", 1.0)):
            on_progress("gemma", stage, fraction)
        on_ready(Ready("ready", NODE, "127.0.0.1:7337", "http://127.0.0.1:8337"))
        return 0


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> NotedDaemon:
    daemon = NotedDaemon()
    monkeypatch.setitem(sys.modules, "node.daemon", SimpleNamespace(run=daemon.run))
    return daemon


def test_every_flag_arrives(moot: Moot, noted: NotedDaemon, tmp_path: Path) -> None:
    words = (
        "--name alder --host 127.0.0.1 --port 7400 --api-host 127.0.0.1 --api-port 8400 --advertise 192.0.2.1:7400 --agents 2 --capacity 9"
    )
    model = tmp_path / "m.gguf"
    model.touch()
    lists = "--brain tiny --brain gemma=3 --bootstrap 192.0.2.2:7337 --token t --open --json"
    assert moot("up", "--data-dir", str(tmp_path), *words.split(), *lists.split(), "--model", str(model)).code == 0
    config = noted.configs[0]
    assert (config.data_dir, config.name, config.host, config.port) == (tmp_path, "alder", "127.0.0.1", 7400)
    assert (config.api_host, config.api_port, config.advertise) == ("127.0.0.1", 8400, "192.0.2.1:7400")
    assert (config.brains, config.agents, config.capacity, config.model) == (("tiny", "gemma=3"), 2, 9, model)
    assert (config.bootstrap, config.token, config.open) == (("192.0.2.2:7337",), "t", True)


def test_a_model_that_is_not_there_stops_the_node_before_it_starts(moot: Moot, noted: NotedDaemon, tmp_path: Path) -> None:
    shown = moot("up", "--data-dir", str(tmp_path), "--model", str(tmp_path / "nowhere.gguf"))
    assert (shown.code, noted.configs) == (2, [])
    assert "There is no model at" in shown.err


def test_what_was_not_typed_comes_from_the_environment(moot: Moot, noted: NotedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOT_PORT", "7500")
    monkeypatch.setenv("MOOT_OPEN", "true")
    moot("up", "--json")
    moot("up", "--port", "7600", "--json")
    assert [(config.port, config.open) for config in noted.configs] == [(7500, True), (7600, True)]


def test_join_is_up_with_an_address(moot: Moot, noted: NotedDaemon) -> None:
    assert moot("join", "192.0.2.1:7337", "--token", "t", "--name", "birch", "--json").code == 0
    assert (noted.configs[0].bootstrap, noted.configs[0].token, noted.configs[0].name) == (("192.0.2.1:7337",), "t", "birch")


def test_with_json_stdout_is_one_line(moot: Moot, noted: NotedDaemon, home: Path) -> None:
    shown = moot("up", "--data-dir", str(home), "--json")
    said = {"event": "ready", "node_id": NODE, "address": "127.0.0.1:7337", "api": "http://127.0.0.1:8337", "neighbours": 0, "known": 0}
    assert json.loads(shown.out) == said
    assert shown.err.splitlines() == ["note: a sentence for people", "gemma: reading weights", "gemma: warming up"]


def test_people_get_the_exact_line_for_another_machine(moot: Moot, noted: NotedDaemon, home: Path) -> None:
    shown = moot("up", "--data-dir", str(home))
    assert shown.out.splitlines()[-1] == "moot join 127.0.0.1:7337 --token moot1-a-b-c"
    assert NODE in shown.out


def test_without_an_api_the_node_runs_on_and_says_so(moot: Moot, noted: NotedDaemon, tmp_path: Path) -> None:
    shown = moot("up", "--data-dir", str(tmp_path))
    assert (shown.code, "no join token" in shown.err) == (0, True)


@pytest.mark.parametrize(
    ("failure", "code"), [(NotAuthorised("The join token has expired: ask for a new one."), 5), (Conflict("Port 7337 is in use."), 1)]
)
def test_a_daemon_that_cannot_start_says_why(moot: Moot, noted: NotedDaemon, failure: MootError, code: int) -> None:
    noted.failure = failure
    shown = moot("up", "--json")
    assert (shown.code, shown.err) == (code, f"moot: {failure}\n")
    assert json.loads(shown.out)["error"]["message"] == str(failure)
