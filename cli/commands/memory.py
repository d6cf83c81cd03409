"""`moot memory add|search|rate|purge`: what the swarm remembers."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.client import TIMEOUT_S, in_path
from cli.tables import table
from cli.target import Target, with_target
from protocol.api.memory import MemoryAdded, MemoryInfo, MemoryPurge, MemoryPurged, MemoryRating, MemoryRequest

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What the swarm remembers, found by meaning.")


@app.command()
@with_target
def add(
    target: Target,
    text: Annotated[str, typer.Argument(help="The question, or what the memory is about.")],
    value: Annotated[str, typer.Argument(help="The answer to keep.")],
) -> int | None:
    """Keep an answer where like questions find it; quarantined until another node rates it."""
    reply = target.client().post("/v1/memory", MemoryAdded, MemoryRequest(value, text))
    target.show(reply, lambda added: _kept(added, text))
    return None


@app.command()
@with_target
def search(
    target: Target,
    query: Annotated[str, typer.Argument(help="A question, or words of it.")],
    top_k: Annotated[int, typer.Option("--top", min=1, max=50, help="How many to show.")] = 3,
) -> int | None:
    """Memories nearest in meaning, best first."""
    found = target.client().get(f"/v1/memory?query={in_path(query)}&top_k={top_k}", list[MemoryInfo], TIMEOUT_S)
    target.show(found, _table)
    return None


@app.command()
@with_target
def rate(
    target: Target,
    memory: Annotated[str, typer.Argument(metavar="ID", help="The id that `moot memory search` printed.")],
    text: Annotated[str, typer.Argument(help="The text of that memory.")],
    score: Annotated[float, typer.Argument(min=0, max=1, help="0 wrong, 1 right, or between.")],
) -> int | None:
    """Say how good a memory is; a good rating lifts its quarantine."""
    reply = target.client().post("/v1/memory/rating", MemoryAdded, MemoryRating(memory, text, score))
    target.show(reply, lambda rated: Text(f"Rated {rated.id}."))
    return None


@app.command()
@with_target
def purge(
    target: Target,
    node: Annotated[str, typer.Option("--node", help="Node id of the memories' origin.")],
) -> int | None:
    """Forget a node's memories: this node's own everywhere, another's here."""
    reply = target.client().post("/v1/memory/purge", MemoryPurged, MemoryPurge(node))
    target.show(reply, lambda purged: Text(f"Deleted {purged.deleted}; memories of {node} are not shown here any more."))
    return None


def _kept(added: MemoryAdded, text: str) -> Text:
    rating = f"moot memory rate {added.id} {shlex.quote(text)} 1"
    return Text(f"Kept as {added.id}; agents are told of it once another node has rated it. There: {rating}")


def _table(found: list[MemoryInfo]) -> RenderableType:
    rows = [
        [m.id, m.text, m.answer, f"{m.likeness:.2f}", f"{m.fitness:.2f}", m.node_id[:8], "quarantined" if m.quarantined else ""]
        for m in found
    ]
    empty = "Nothing like it is remembered."
    return table(["id", "text", "answer", "like", "fitness", "from", ""], rows, right={3, 4}, empty=empty)
