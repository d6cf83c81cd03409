"""`moot stop`: end the daemon. It keeps its place in the swarm: start it again with `moot up`."""

from __future__ import annotations

import typer
from rich.text import Text

from cli.daemons import GONE_S, holder, is_running, terminate, wait_until_gone
from cli.target import EXIT_ERROR, DaemonUnreachable, Target, with_target
from protocol.api.nodes import StopReply

app = typer.Typer(add_completion=False)

ANSWER_S = 5.0


@app.command()
@with_target
def stop(target: Target) -> int | None:
    """Stop the daemon and wait until it is gone."""
    try:
        reply = target.client().post("/v1/stop", StopReply, timeout_s=ANSWER_S)
    except DaemonUnreachable:
        if not target.is_local or not is_running(target.directory):
            raise
        target.say("moot: the daemon does not answer; its process is asked to end")
        terminate(target.directory)
        reply = StopReply(True)
    if target.is_local and not wait_until_gone(target.directory):
        target.say(
            f"moot: the daemon still runs after {GONE_S:.0f} s: `kill -9 {holder(target.directory)}` ends it, and what it saved is safe."
        )
        return EXIT_ERROR
    target.show(reply, lambda _: Text("stopped" if target.is_local else "stopping"))
    return None
