"""`moot solve`: put a grid of cells to work on a task. Where no daemon runs, a temporary one is started for it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli.client import Client, in_path
from cli.files import prepare, save
from cli.packings import gap_text
from cli.render import grid_of, how_far, render_run
from cli.target import EXIT_ERROR, DaemonUnreachable, Target, console, with_target
from protocol.api.runs import ArtifactInfo, RunInfo, RunRequest
from protocol.errors import InvalidRequest, UserError

app = typer.Typer(add_completion=False)
OVER = ("done", "failed", "stopped")
MESSAGES = "messages.json"
Values = dict[str, int | float | str]


@app.command()
@with_target
def solve(
    target: Target,
    task: Annotated[str, typer.Argument(help="The name of a task, or the path of a task file (./my_task.py).")],
    grid: Annotated[int, typer.Option("--grid", min=1, max=32, help="Cells along one side.")] = 3,
    iterations: Annotated[int, typer.Option("--iterations", min=1, max=10_000, help="How often every cell tries, at least.")] = 1,
    n: Annotated[int | None, typer.Option("--n", help="How many circles, cities, numbers.")] = None,
    time: Annotated[float | None, typer.Option("--time", min=0.1, max=86_400, help="Seconds to work.")] = None,
    topology: Annotated[str | None, typer.Option("--topology", help="neumann, moore, torus, ring, nearest, small-world ...")] = None,
    chooser: Annotated[str | None, typer.Option("--chooser", help="scripted, random, bandit, brain or shuffled.")] = None,
    brain: Annotated[str | None, typer.Option("--brain", help="The brain that chooses moves (with it, --chooser brain).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Equal seeds place and start equally; 0: any.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="Any other parameter.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write best.json, solutions.txt and pictures there.")] = None,
    visualize: Annotated[bool, typer.Option("--visualize", help="Draw the scores of the cells while they work.")] = False,
) -> int | None:
    """Run a task on a grid in which cells hear only their neighbours.

    Waits for the end. Exit code 1: it failed.
    """
    given: dict[str, int | float | str | None] = {
        "size": grid,
        "iterations": iterations,
        "n": n,
        "seconds": time,
        "topology": topology,
        "chooser": chooser or ("brain" if brain else None),
        "brain": brain,
        "seed": seed,
    }
    params: Values = {name: value for name, value in given.items() if value is not None} | _assignments(param or [])
    if params.get("proposals") == "coordinates" and params.get("chooser") not in ("brain", "shuffled"):
        raise InvalidRequest("Coordinates are written by a model: add --brain gemma.", param="proposals")
    request = RunRequest(str(Path(task).resolve()) if task.endswith(".py") else task, params)
    if out is not None:
        prepare(out)
    with _daemon(target, brain if params.get("chooser") in ("brain", "shuffled") else None) as client:
        run = _follow(client, request, visualize)
        target.show(run, render_run)  # before anything is written: a full disk must not hide what was found
        chosen = f"moves chosen by: {params.get('chooser', 'scripted')}" + (f" ({brain})" if brain else "")
        for line in (chosen, _told(client, run), "" if run.best is None else gap_text(run.task, run.params, run.best)):
            if line:
                target.say(line)
        try:
            if out is not None:
                _write(client, run, out)
        except UserError as error:
            target.say(f"moot: {error}")
            return EXIT_ERROR
    return EXIT_ERROR if run.state == "failed" else None


def _assignments(pairs: list[str]) -> Values:
    values: Values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidRequest(f"Write --param NAME=VALUE, not '{pair}'.", param="param")
        try:
            values[name] = int(text)
        except ValueError:
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = text
    return values


@contextmanager
def _daemon(target: Target, brain: str | None) -> Iterator[Client]:
    """The daemon meant; where none was named and none runs, a temporary one that ends with the command."""
    try:
        client = target.client()
        client.download("/healthz")
    except DaemonUnreachable:
        if target.api or target.data_dir is not None:
            raise
    else:
        yield client
        return
    from cli import daemons

    with tempfile.TemporaryDirectory(prefix="moot-solve-") as folder:
        data_dir = Path(folder)
        flags = ["--host", "127.0.0.1", "--port", "0", "--api-port", "0", "--brain", brain or "none", "--name", "solver"]
        target.say("no daemon runs: starting one for this command")
        ready = daemons.start(data_dir, flags).ready()
        try:
            yield Client(ready.api)
        finally:
            daemons.stop(data_dir)


def _follow(client: Client, request: RunRequest, visualize: bool) -> RunInfo:
    """Start, then look again whenever something happens, until the end; interrupted, the run is stopped and its best is kept."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    def picture(run: RunInfo) -> Group:
        parts: list[Text | ProgressBar] = [
            Text(f"{run.task.rpartition('/')[2]}: {run.state}, {how_far(run)}"),
            ProgressBar(total=1.0, completed=run.progress, width=60),
        ]
        return Group(*parts, *([grid_of(run)] if visualize and run.iterations else []))

    with client.events() as happened:
        run = client.post("/v1/runs", RunInfo, request)
        path = f"/v1/runs/{in_path(run.run_id)}"
        with Live(picture(run), console=console(stderr=True), transient=not visualize, auto_refresh=False) as live:
            try:
                while run.state not in OVER:
                    event = next(happened)
                    if event is None or event.event == "run":
                        run = client.get(path, RunInfo)
                        live.update(picture(run), refresh=sys.stderr.isatty() or (visualize and run.state in OVER))
            except KeyboardInterrupt:
                client.post(path + "/stop", RunInfo)
                raise
            except DaemonUnreachable as error:
                after = f"where other nodes are, one of them goes on with the run: `moot runs show {run.run_id}` there shows it."
                raise DaemonUnreachable(f"The daemon at {client.api} is gone; {after}") from error
    return run


class _Messages(msgspec.Struct):
    """What `messages.json` of a run says (`node.cells.traces`)."""

    moves: int = 0
    bits: float = 0.0
    null: float = 0.0
    chance: float = 1.0
    written: int = 0
    sound: int = 0


def _told(client: Client, run: RunInfo) -> str:
    """What a run whose cells asked a model says about it; empty for any other."""
    path = f"/v1/runs/{in_path(run.run_id)}/artifacts"
    if not any(made.name == MESSAGES for made in client.get(path, list[ArtifactInfo])):
        return ""
    found = msgspec.json.decode(client.download(f"{path}/{MESSAGES}"), type=_Messages)
    if found.written:
        return f"solutions written by the model: {found.written}, valid as they stood: {found.sound}"
    return (
        f"messages and moves share {found.bits:.3f} bits over {found.moves} moves; dealt at random they would share {found.null:.3f} "
        f"(chance {found.chance:.2g})"
    )


def _write(client: Client, run: RunInfo, out: Path) -> None:
    """The small files first: where the disk is full, it is the pictures that are missing. Raises `UserError`."""
    path = f"/v1/runs/{in_path(run.run_id)}/artifacts"
    remedy = f"make room, then `moot runs files {run.run_id} --out DIR` fetches what is missing while the daemon keeps the run."
    for artifact in sorted(client.get(path, list[ArtifactInfo]), key=lambda made: made.bytes):
        save(out / artifact.name, client.download(f"{path}/{in_path(artifact.name)}"), remedy)
