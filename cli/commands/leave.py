"""`moot leave`: take this node out of the swarm for good."""

from __future__ import annotations

import typer
from rich.text import Text

from cli.daemons import wait_until_gone
from cli.target import Target, with_target
from protocol.api import LeaveReply

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def leave(target: Target) -> int | None:
    """Leave the swarm for good and stop.

    To stop for a while: `moot stop`.
    """
    reply = target.client().post("/v1/leave", LeaveReply)
    if target.is_local:
        wait_until_gone(target.directory)
    target.show(reply, lambda _: Text("left"))
    return None
