"""`moot peers`: who else is in the swarm."""

from __future__ import annotations

import typer

from cli.render import render_peers
from cli.target import Target, with_target
from protocol.api.nodes import Peers

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def peers(target: Target) -> int | None:
    """List every member known, and which are neighbours."""
    target.show(target.client().get("/v1/peers", Peers), render_peers)
    return None
