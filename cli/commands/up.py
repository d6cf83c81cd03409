"""`moot up` and `moot join`: run a node here until it is stopped. The only command that imports the daemon."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cli.options import graft
from cli.target import console
from protocol.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from protocol.api.nodes import Ready

app = typer.Typer(add_completion=False)
join_app = typer.Typer(add_completion=False)

INVITE_S = 5.0
"""Seconds that this process may take to answer itself."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What was typed; None and empty: not given."""

    settings: dict[str, Any]
    config: Path | None
    as_json: bool


def flags_of(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where this node keeps its identity and database.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What people call this node; by default the machine's name.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on for links (TCP) and the DHT (UDP).")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="0: choose a free one once and keep it.")] = None,
    advertise: Annotated[str | None, typer.Option("--advertise", metavar="HOST:PORT", help="Address that others dial.")] = None,
    api_host: Annotated[str | None, typer.Option("--api-host", help="Address of the HTTP API; beyond loopback with a token only.")] = None,
    api_port: Annotated[int | None, typer.Option("--api-port", min=0, max=65_535, help="0: choose a free one once and keep it.")] = None,
    brain: Annotated[
        list[str] | None,
        typer.Option(
            "--brain", metavar="NAME[=AGENTS]", help="tiny, gemma, remote:URL#MODEL or none; may be given again. Default: what fits."
        ),
    ] = None,
    agents: Annotated[int | None, typer.Option("--agents", min=1, max=64, help="Agents of each brain.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A Gemma .gguf to use in place of the packaged 270M.")] = None,
    capacity: Annotated[
        int | None, typer.Option("--capacity", min=0, max=256, help="Most agents (default: by free memory, cores, brain time).")
    ] = None,
    bootstrap: Annotated[list[str] | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="A node of the swarm to join.")] = None,
    token: Annotated[str | None, typer.Option("--token", help="Join token (env: MOOT_TOKEN or MOOT_TOKEN_FILE).")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Found or join the swarm that anybody may join.")] = False,
    embedder: Annotated[
        str | None,
        typer.Option("--embedder", metavar="words|minilm", help="What the memory of a swarm founded here is found by, for good."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file with these settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> Flags:
    """The options of both commands, as typer reads them."""
    settings = {
        "data_dir": data_dir,
        "name": name,
        "host": host,
        "port": port,
        "advertise": advertise,
        "api_host": api_host,
        "api_port": api_port,
        "brains": brain,
        "agents": agents,
        "model": model,
        "capacity": capacity,
        "bootstrap": bootstrap,
        "token": token,
        "open": open_ or None,
        "embedder": embedder,
    }
    return Flags(settings, config, as_json)


@app.command()
@graft(flags_of)
def up(flags: Flags) -> int | None:
    """Run a node: found a swarm, or join one.

    Joining takes --bootstrap and, the first time, --token. Prints how another machine joins.
    """
    return _run(flags)


@join_app.command()
@graft(flags_of)
def join(flags: Flags, address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="A node of the swarm.")]) -> int | None:
    """Join a swarm and run: `moot up` with an address to dial.

    Needs --token the first time; a node that was admitted once needs none.
    """
    known = flags.settings["bootstrap"] or []
    return _run(replace(flags, settings={**flags.settings, "bootstrap": [address, *known]}))


def _run(flags: Flags) -> int:
    from node.config import load_config

    config = load_config(flags.settings, os.environ, flags.config)  # a wrong flag is told before anything heavy is imported
    if config.model is not None and not config.model.expanduser().is_file():
        raise InvalidRequest(f"There is no model at {config.model}: --model takes the path of a Gemma 3 .gguf.", param="model")
    from node.daemon import run

    inviting = threading.Thread(target=_invite, args=(config.data_dir,))
    with Loading() as loading:

        def on_ready(ready: Ready) -> None:
            loading.done()
            _announce(ready, flags.as_json)
            if not flags.as_json:
                inviting.start()  # in a thread, because it asks the API of this very process

        code = run(config, on_ready, loading.update, lambda notice: _say(f"note: {notice}"))
    if inviting.ident is not None:
        inviting.join()
    return code


class Loading:
    """Progress of each brain on stderr: bars on a terminal, one line a stage elsewhere. Called from worker threads too."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._stages: dict[str, str] = {}

    def __enter__(self) -> Loading:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.fields[brain]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._progress = Progress(*columns, console=console(stderr=True), transient=True)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done()

    def update(self, brain: str, stage: str, fraction: float) -> None:
        """`fraction` of a stage, in [0, 1]."""
        if self._progress is not None:
            if brain not in self._tasks:
                self._tasks[brain] = self._progress.add_task(stage, total=1.0, brain=brain)
            self._progress.update(self._tasks[brain], completed=fraction, description=stage)
        elif self._stages.get(brain) != stage:
            self._stages[brain] = stage
            _say(f"{brain}: {stage}")

    def done(self) -> None:
        """Take the bars away."""
        if self._progress is not None:
            self._progress.stop()


def _announce(ready: Ready, as_json: bool) -> None:
    text = f"node     {ready.node_id}\naddress  {ready.address}\nAPI      {ready.api}\npeers    {_company(ready)}"
    sys.stdout.write((msgspec.json.encode(ready).decode() if as_json else text) + "\n")
    sys.stdout.flush()


def _company(ready: Ready) -> str:
    if ready.neighbours:
        return f"{ready.neighbours} neighbour{'s' * (ready.neighbours != 1)}"
    return "none answers yet; this node keeps dialling" if ready.known else "none yet"


def _invite(data_dir: Path) -> None:
    """The exact line for another machine, where this node may admit others."""
    from cli.client import Client
    from cli.invitation import where_to_join
    from cli.target import read_api_file
    from protocol.api.nodes import NodeInfo, TokenReply, TokenRequest
    from protocol.errors import UserError

    try:
        found = read_api_file(data_dir)
        client = Client(found.api, found.admin_token, timeout_s=INVITE_S)
        node = client.get("/v1/node", NodeInfo)
        if "keeper" in node.roles:
            made = client.post("/v1/tokens", TokenReply, TokenRequest())
            _say(f"{where_to_join(node.address)}; good for one machine, one hour:")
            sys.stdout.write(f"{made.join}\n")
            sys.stdout.flush()
        _say("Ctrl-C stops this node; it keeps its place in the swarm.")
    except UserError as error:
        _say(f"moot: no join token: {error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command line talks
