"""`moot token create|ls|revoke`: how other machines join."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.client import in_path
from cli.invitation import where_to_join
from cli.tables import table
from cli.target import Target, with_target
from protocol.api.nodes import TokenInfo, TokenReply, TokenRequest
from protocol.errors import InvalidRequest

app = typer.Typer(add_completion=False, help="Make, list and revoke join tokens.")

MAX_TTL_S = 31_536_000


@app.command("create")
@with_target
def create(
    target: Target,
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="How long it is good for: 5m, 1h, 2d.")] = "1h",
    uses: Annotated[int, typer.Option("--uses", min=1, max=10_000, help="How many machines it admits.")] = 1,
) -> int | None:
    """Make a join token and print it, once; the command for the other machine goes to stderr."""
    from protocol.token import parse_duration

    seconds = parse_duration(ttl)
    if seconds > MAX_TTL_S:
        raise InvalidRequest(f"A token is good for at most 365d, not {ttl}: lower --ttl.", param="ttl")
    reply = target.client().post("/v1/tokens", TokenReply, TokenRequest(seconds, uses))
    if not target.as_json:
        target.say(f"{where_to_join(reply.join.split()[2])}: {reply.join}")
    target.show(reply, lambda made: Text(made.token))
    return None


@app.command("ls")
@with_target
def ls(target: Target) -> int | None:
    """List the tokens that are still good."""
    target.show(target.client().get("/v1/tokens", list[TokenInfo]), _render)
    return None


@app.command("revoke")
@with_target
def revoke(
    target: Target, token: Annotated[str, typer.Argument(metavar="ID", help="A token's id, as `moot token ls` prints it.")]
) -> int | None:
    """Make a token useless."""
    target.client().delete(f"/v1/tokens/{in_path(token)}")
    target.say(f"Token {token} is revoked.")
    return None


def _render(tokens: list[TokenInfo]) -> RenderableType:
    rows = [[one.id, str(one.uses_left), f"{datetime.fromtimestamp(one.expires_at).astimezone():%Y-%m-%d %H:%M}"] for one in tokens]
    return table(["id", "uses left", "expires"], rows, right={1}, empty="No token is good: `moot token create` makes one.")
