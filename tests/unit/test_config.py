"""Configuration: who wins over whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config import load_config
from protocol.errors import InvalidRequest


@pytest.fixture(autouse=True)
def no_user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.config.user_config_file", lambda: tmp_path / "none.toml")


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('name = "from-file"\nport = 1001\nagents = 2\n')
    env = {"MOOT_PORT": "1002", "MOOT_AGENTS": "3"}
    config = load_config({"agents": 5}, env, file)
    assert (config.name, config.port, config.agents, config.api_port) == ("from-file", 1002, 5, 8337)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("moot1-a-b-c\n")
    assert load_config({}, {"MOOT_TOKEN_FILE": str(tmp_path / "secret")}).token == "moot1-a-b-c"
    with pytest.raises(InvalidRequest, match="MOOT_TOKEN_FILE"):
        load_config({}, {"MOOT_TOKEN_FILE": str(tmp_path / "missing")})


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    assert load_config({}, {"MOOT_BRAINS": "tiny, gemma"}).brains == ("tiny", "gemma")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"port": 70_000}, "port"),
        ({"name": ""}, "name"),
        ({"colour": "red"}, "colour"),
        ({"bootstrap": ("nowhere",)}, "HOST:PORT"),
        ({"advertise": "10.0.0.1:0"}, "HOST:PORT"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        load_config(flags, {})


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("port = = 1")
    with pytest.raises(InvalidRequest, match=r"c\.toml"):
        load_config({}, {}, file)
    with pytest.raises(InvalidRequest, match="no configuration file"):
        load_config({}, {}, tmp_path / "missing.toml")


def test_the_embedder_that_a_founder_pins_comes_from_flag_environment_or_file(tmp_path: Path) -> None:
    file = tmp_path / "moot.toml"
    file.write_text('embedder = "minilm"\n')
    assert load_config({}, {}, file).embedder == load_config({}, {"MOOT_EMBEDDER": "minilm"}).embedder == "minilm"
    assert load_config({"embedder": "words"}, {"MOOT_EMBEDDER": "minilm"}, file).embedder == "words"
    with pytest.raises(InvalidRequest, match="embedder"):
        load_config({"embedder": "word2vec"}, {})


def test_a_wrong_setting_is_named_with_the_place_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('port = "high"\n')
    with pytest.raises(InvalidRequest, match=r"'port', from .*c\.toml, is not right: expected `int`"):
        load_config({}, {}, file)
    file.write_text("prot = 7337\n")
    with pytest.raises(InvalidRequest, match=r"no setting 'prot', which .*c\.toml gives: did you mean 'port'\?"):
        load_config({}, {}, file)
    with pytest.raises(InvalidRequest, match=r"'agents', from the environment"):
        load_config({}, {"MOOT_AGENTS": "many"})
