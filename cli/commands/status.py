"""`moot status`: is a daemon here, and how does it do?"""

from __future__ import annotations

import typer

from cli.render import render_status
from cli.target import Target, with_target
from protocol.api.nodes import NodeInfo

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def status(target: Target) -> int | None:
    """Show the node: name, swarm, address, brains, what a person should know."""
    target.show(target.client().get("/v1/node", NodeInfo), render_status)
    return None
