"""`moot leave`: take this node out of the swarm for good."""

from __future__ import annotations

import typer
from rich.text import Text

from cli.daemons import wait_until_gone
from cli.target import Target, with_target
from protocol.api.nodes import LeaveReply

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def leave(target: Target) -> int | None:
    """Move the agents to other nodes, leave the swarm for good and stop.

    To stop for a while: `moot stop`.
    """
    reply = target.client().post("/v1/leave", LeaveReply)
    if target.is_local:
        wait_until_gone(target.directory)
    target.show(reply, _render)
    return None


def _render(reply: LeaveReply) -> Text:
    agents = f"left; {reply.moved} agents moved to other nodes" if reply.moved else "left"
    return Text(f"{agents}; {reply.stayed} agents found no room and stay in the database of this node" if reply.stayed else agents)
