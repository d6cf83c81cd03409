"""`moot agents ls|show`: who answers questions here, or anywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.render import render_agent, render_agents
from cli.target import Target, with_target
from protocol.api import AgentInfo
from protocol.errors import InvalidRequest, NotFound

app = typer.Typer(add_completion=False, help="List agents, or show one.")


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
    found = [one for one in _agents(target, swarm=True) if one.agent_id.startswith(agent)]
    if not found:
        raise NotFound(f"There is no agent '{agent}': `moot agents ls --swarm` lists them.")
    if len(found) > 1:
        raise InvalidRequest(f"{len(found)} agents begin with '{agent}': give more of the id.")
    target.show(found[0], render_agent)
    return None


def _agents(target: Target, swarm: bool) -> list[AgentInfo]:
    return target.client().get(f"/v1/agents?scope={'swarm' if swarm else 'node'}", list[AgentInfo])
