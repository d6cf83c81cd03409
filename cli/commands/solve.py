"""`moot solve`: put a grid of cells to work on a task. (First form: a square grid and a number of iterations.)"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import Client, in_path
from cli.render import render_run
from cli.target import EXIT_ERROR, Target, console, with_target
from protocol.api import RunInfo, RunRequest

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def solve(
    target: Target,
    task: Annotated[str, typer.Argument(help="The name of a task.")],
    grid: Annotated[int, typer.Option("--grid", min=1, max=32, help="Cells along one side.")] = 3,
    iterations: Annotated[int, typer.Option("--iterations", min=1, max=100, help="How often every cell tries.")] = 1,
) -> int | None:
    """Run a task on a grid in which cells hear only their neighbours.

    Waits for the end. Exit code 1: it failed.
    """
    client = target.client()
    with console(stderr=True).status(f"solving {task}"):
        run = _follow(client, RunRequest(task, {"size": grid, "iterations": iterations}))
    target.show(run, render_run)
    return EXIT_ERROR if run.state == "failed" else None


def _follow(client: Client, request: RunRequest) -> RunInfo:
    """Start, then look again whenever the node says that something happened, or that it is still there."""
    with client.events() as happened:
        run = client.post("/v1/runs", RunInfo, request)
        while run.state not in ("done", "failed"):
            event = next(happened)
            if event is None or event.event == "run":
                run = client.get(f"/v1/runs/{in_path(run.run_id)}", RunInfo)
    return run
