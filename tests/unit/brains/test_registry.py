"""Brains by name, and what a node starts with when it is told nothing."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from node.brains import registry
from node.brains.registry import parse, plan
from node.config import Config
from node.runtime import SystemRuntime
from protocol.errors import InvalidRequest

RUNTIME = SystemRuntime()


def config(*brains: str, **settings: object) -> Config:
    return Config(data_dir=Path("unused"), name="test", brains=brains or None, **settings)  # type: ignore[arg-type]


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these were not installed."""
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in modules else real(name, package)

    monkeypatch.setattr(registry, "find_spec", find)


def test_an_unknown_brain_is_answered_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"no brain 'gpt': there are tiny:mlp \(or tiny\), tiny:head, gemma, remote:URL#MODEL"):
        plan(config("gpt"), RUNTIME)


def test_a_brain_named_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="named twice"):
        plan(config("tiny", "tiny=2"), RUNTIME)


@pytest.mark.parametrize("text", ["tiny=65", "tiny=-1"])
def test_too_many_agents_or_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 64"):
        parse(text, 4)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("tiny", ("tiny", 4)),
        ("tiny=1", ("tiny", 1)),
        ("remote:http://h:1#a=b", ("remote:http://h:1#a=b", 4)),
        ("remote:http://h:1#m=2", ("remote:http://h:1#m", 2)),
    ],
)
def test_names_and_numbers(text: str, meant: tuple[str, int]) -> None:
    assert parse(text, 4) == meant


def test_named_brains_come_as_named() -> None:
    lineup = plan(config("tiny=2", "remote:http://127.0.0.1:11434#llama3.2"), RUNTIME)
    assert [(team.brain.name, team.agents) for team in lineup.teams] == [("tiny:mlp", 2), ("remote:llama3.2", 4)]


def test_a_server_that_is_not_this_machine_is_told_of_at_the_start() -> None:
    (notice,) = plan(config("remote:http://192.168.7.7:11434#llama3.2"), RUNTIME).notices
    assert "is sent to 192.168.7.7, which is not this machine" in notice
    assert plan(config("remote:http://127.0.0.1:11434#llama3.2"), RUNTIME).notices == []


def test_told_nothing_it_takes_gemma_and_one_tiny_where_gemma_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "why_no_gemma", lambda config: None)
    lineup = plan(config(agents=3), RUNTIME)
    assert [(team.brain.family, team.agents) for team in lineup.teams] == [("gemma", 3), ("tiny:mlp", 1)]


@pytest.mark.parametrize("module", ["jax", "sentencepiece"])
def test_without_the_gemma_extra_tiny_agents_stand_in_and_the_notice_says_why(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    without(monkeypatch, module)
    lineup = plan(config(agents=3), RUNTIME)
    assert [(team.brain.name, team.agents) for team in lineup.teams] == [("tiny:mlp", 3)]
    assert module in lineup.notices[0]
    assert "moot[gemma]" in lineup.notices[0]


def test_with_too_little_memory_tiny_agents_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.brains.gemma.machine.available_memory", lambda: 1_000_000_000)
    (notice,) = plan(config(), RUNTIME).notices
    assert "there are 1.0 GB" in notice


def test_without_torch_a_notice_says_that_tiny_does_not_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    assert "do not learn" in plan(config("tiny"), RUNTIME).notices[-1]


def test_planning_imports_no_heavy_library() -> None:
    code = (
        "import sys; from pathlib import Path; from node.brains.registry import plan; from node.config import Config;"
        "from node.runtime import SystemRuntime; from node.agents import host, nursery, replication; from node.cells import home;"
        "plan(Config(data_dir=Path('x'), name='x', brains=('tiny', 'gemma', 'remote:http://h:1#m')), SystemRuntime());"
        "print([name for name in ('torch', 'jax', 'numpy', 'sentencepiece', 'safetensors') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_agents_begin_with_the_mutation_that_the_node_was_told() -> None:
    (team,) = plan(config("tiny=1", tiny_mutation=0.25), RUNTIME).teams
    assert team.brain.seed(random.Random(1)).settings["sigma"] == 0.25
