"""`moot runs ls|show`: long jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.client import in_path
from cli.render import render_run, table
from cli.target import Target, with_target
from protocol.api import RunInfo

app = typer.Typer(add_completion=False, help="List runs, or show one.")


@app.command("ls")
@with_target
def ls(target: Target) -> int | None:
    """List the runs of this node."""
    target.show(target.client().get("/v1/runs", list[RunInfo]), _render)
    return None


@app.command("show")
@with_target
def show(target: Target, run: Annotated[str, typer.Argument(metavar="ID", help="A run's id.")]) -> int | None:
    """Show one run: its iterations and the scores of its cells."""
    target.show(target.client().get(f"/v1/runs/{in_path(run)}", RunInfo), render_run)
    return None


def _render(runs: Sequence[RunInfo]) -> RenderableType:
    rows = [[run.run_id, run.task, run.state, str(len(run.iterations)), run.detail] for run in runs]
    return table(["run", "task", "state", "iterations", ""], rows, right={3}, empty="No runs: `moot solve TASK` starts one.")
