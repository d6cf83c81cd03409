"""`moot stop`: end the daemon. It keeps its place in the swarm: start it again with `moot up`."""

from __future__ import annotations

import typer
from rich.text import Text

from cli.daemons import GONE_S, wait_until_gone
from cli.target import EXIT_ERROR, Target, with_target
from protocol.api.nodes import StopReply

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def stop(target: Target) -> int | None:
    """Stop the daemon and wait until it is gone."""
    reply = target.client().post("/v1/stop", StopReply)
    if target.is_local and not wait_until_gone(target.directory):
        target.say(f"moot: the daemon still runs after {GONE_S:.0f} s: see its log.")
        return EXIT_ERROR
    target.show(reply, lambda _: Text("stopped" if target.is_local else "stopping"))
    return None
