"""`moot runs ls|show|pause|resume|stop|set|files`: long jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.client import in_path
from cli.files import prepare, save
from cli.render import how_far, render_run
from cli.tables import table
from cli.target import Target, with_target
from protocol.api.runs import ArtifactInfo, CellInfo, RunEdit, RunInfo
from protocol.errors import InvalidRequest, NotFound

app = typer.Typer(add_completion=False, help="List runs, show one, pause, resume, stop or change it.")
Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id.")]


@app.command("ls")
@with_target
def ls(target: Target) -> int | None:
    """List the runs of this node."""
    target.show(target.client().get("/v1/runs", list[RunInfo]), _render)
    return None


@app.command("show")
@with_target
def show(
    target: Target, run: Id, cell: Annotated[str | None, typer.Option("--cell", metavar="R,C", help="One cell's prompt and reply.")] = None
) -> int | None:
    """Show one run: its iterations and the scores of its cells, or what one cell was asked and answered."""
    found = target.client().get(f"/v1/runs/{in_path(run)}", RunInfo)
    if cell is None:
        target.show(found, render_run)
    else:
        target.show(_cell(found, cell), _render_cell)
    return None


@app.command("pause")
@with_target
def pause(target: Target, run: Id) -> int | None:
    """Let a run wait after the iteration it is in."""
    return _order(target, run, "pause")


@app.command("resume")
@with_target
def resume(target: Target, run: Id) -> int | None:
    """Let a paused run go on."""
    return _order(target, run, "resume")


@app.command("stop")
@with_target
def stop(target: Target, run: Id) -> int | None:
    """End a run after the iteration it is in; what it has is kept."""
    return _order(target, run, "stop")


@app.command("set")
@with_target
def change(target: Target, run: Id, values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")]) -> int | None:
    """Change live parameters of a run."""
    params: dict[str, int | float | str] = {}
    for pair in values:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"Write NAME=VALUE, not '{pair}'.")
        try:
            params[name] = float(text) if "." in text else int(text)
        except ValueError:
            params[name] = text
    target.show(target.client().patch(f"/v1/runs/{in_path(run)}/params", RunInfo, RunEdit(params)), render_run)
    return None


@app.command("files")
@with_target
def files(target: Target, run: Id, out: Annotated[Path | None, typer.Option("--out", help="Write them there.")] = None) -> int | None:
    """List the files that a run has made, or fetch them."""
    client, path = target.client(), f"/v1/runs/{in_path(run)}/artifacts"
    found = client.get(path, list[ArtifactInfo])
    if out is not None:
        prepare(out)
        for artifact in sorted(found, key=lambda made: made.bytes):
            remedy = "make room or give another --out, then fetch again; the run keeps its files."
            save(out / artifact.name, client.download(f"{path}/{in_path(artifact.name)}"), remedy)
    target.show(found, lambda made: table(["file", "bytes"], [[one.name, str(one.bytes)] for one in made], right={1}, empty="No files."))
    return None


def _order(target: Target, run: str, verb: str) -> int | None:
    target.show(target.client().post(f"/v1/runs/{in_path(run)}/{verb}", RunInfo), render_run)
    return None


def _cell(run: RunInfo, place: str) -> CellInfo:
    row, comma, column = place.partition(",")
    if not comma or not row.isdecimal() or not column.isdecimal():
        raise InvalidRequest(f"Write --cell ROW,COLUMN, as in --cell 0,2, not '{place}'.", param="cell")
    for iteration in reversed(run.iterations):
        for cell in iteration.cells:
            if (cell.row, cell.column) == (int(row), int(column)):
                return cell
    raise NotFound(f"The run has no report of cell {place}.")


def _render_cell(cell: CellInfo) -> RenderableType:
    return Text(f"cell {cell.row},{cell.column}, score {cell.score:.9g}\n\n{cell.note or 'No model chose for this cell.'}")


def _render(runs: Sequence[RunInfo]) -> RenderableType:
    rows = [[run.run_id, run.task.rpartition("/")[2], run.state, how_far(run), run.detail] for run in runs]
    return table(["run", "task", "state", "progress", ""], rows, empty="No runs on this node: `moot solve TASK` starts one.")
