"""`moot agents ls|show|tree|export|import`: who answers questions here, or anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.client import in_path
from cli.render import render_agent, render_agents, render_family
from cli.target import Target, with_target
from protocol.api.agents import AgentFile, AgentInfo
from protocol.errors import InvalidRequest, NotFound

app = typer.Typer(add_completion=False, help="List agents, show one, draw their families, move them as files.")


@app.command("ls")
@with_target
def ls(target: Target, swarm: Annotated[bool, typer.Option("--swarm", help="Of every node, not of this one only.")] = False) -> int | None:
    """List agents: brain, generation, fitness, interactions."""
    target.show(_agents(target, swarm), render_agents)
    return None


@app.command("show")
@with_target
def show(target: Target, agent: Annotated[str, typer.Argument(help="An agent's id, or the beginning of one.")]) -> int | None:
    """Show one agent of the swarm."""
    target.show(_the(agent, _agents(target, swarm=True)), render_agent)
    return None


@app.command("tree")
@with_target
def tree(target: Target) -> int | None:
    """Draw who descends from whom in the swarm; --json prints the list of agents."""
    target.show(_agents(target, swarm=True), render_family)
    return None


@app.command("export")
@with_target
def export(
    target: Target,
    agent: Annotated[str, typer.Argument(help="The id of an agent of this node, or its beginning.")],
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
) -> int | None:
    """Write an agent with its genome and lineage to a file."""
    import msgspec

    whole = _the(agent, _agents(target, swarm=False), "on this node").agent_id
    found = target.client().get(f"/v1/agents/{in_path(whole)}/export", AgentFile)
    try:
        file.write_bytes(msgspec.json.encode(found))
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}.") from error
    target.say(f"{found.brain} agent {found.agent_id[:8]} of generation {found.generation} written to {file}")
    return None


@app.command("import")
@with_target
def import_(target: Target, file: Annotated[Path, typer.Argument(help="A file that `moot agents export` wrote.")]) -> int | None:
    """Let a child of the agent in a file live on this node."""
    import msgspec

    try:
        content = msgspec.json.decode(file.read_bytes(), type=AgentFile)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{file} is no agent file: {error}.") from error
    target.show(target.client().post("/v1/agents", AgentInfo, content), render_agent)
    return None


def _agents(target: Target, swarm: bool) -> list[AgentInfo]:
    return target.client().get(f"/v1/agents?scope={'swarm' if swarm else 'node'}", list[AgentInfo])


def _the(beginning: str, agents: list[AgentInfo], where: str = "in the swarm") -> AgentInfo:
    """The one agent whose id begins so. Raises `NotFound`, or `InvalidRequest` where there are several."""
    found = [one for one in agents if one.agent_id.startswith(beginning.strip().lower())]
    if not found:
        raise NotFound(f"There is no agent '{beginning}' {where}: `moot agents ls --swarm` lists all.")
    if len(found) > 1:
        raise InvalidRequest(f"{len(found)} agents begin with '{beginning}': give more of the id.")
    return found[0]
