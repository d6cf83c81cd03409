"""`moot swarm up|down|ls`: several daemons on this machine, for trying things out. Each is a real node with a directory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.text import Text

from cli.client import Client
from cli.daemons import Starting, is_running, start, stop
from cli.tables import table
from cli.target import DaemonUnreachable, Target, console, read_api_file, with_target
from protocol.api.nodes import NodeInfo, TokenReply, TokenRequest
from protocol.errors import NotFound, UserError

app = typer.Typer(add_completion=False, help="Several daemons on this machine.")

TOKEN_TTL_S = 900
LOOPBACK = ["--host", "127.0.0.1", "--port", "0", "--api-port", "0"]


class Daemon(Struct, frozen=True):
    """One row: a directory, and the daemon in it where one runs."""

    data_dir: str
    state: str
    node_id: str
    address: str
    api: str


@app.command("up")
@with_target
def up(
    target: Target,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=64, help="How many daemons.")] = 3,
    brain: Annotated[list[str] | None, typer.Option("--brain", help="As for `moot up`; for every daemon.")] = None,
    agents: Annotated[int | None, typer.Option("--agents", min=1, max=64, help="As for `moot up`; for every daemon.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="As for `moot up`; for every daemon.")] = None,
) -> int | None:
    """Start daemons, detached.

    The first founds the swarm, the others join it with a token. Those that run already are left alone.
    """
    flags = [*LOOPBACK, *(part for name in brain or () for part in ("--brain", name))]
    flags += [] if agents is None else ["--agents", str(agents)]
    flags += [] if model is None else ["--model", str(model.absolute())]
    directories = [_home(target) / f"node-{number}" for number in range(1, count + 1)]
    with console(stderr=True).status("starting the first daemon") as progress:
        _start_all(directories[:1], flags)
        joining = [directory for directory in directories[1:] if not is_running(directory)]
        if joining:
            progress.update(f"starting {len(joining)} more")
            _start_all(joining, [*flags, *_invitation(directories[0], len(joining))])
    target.show([_look(directory) for directory in directories], _render)
    return None


@app.command("down")
@with_target
def down(target: Target) -> int | None:
    """Stop them all.

    What they learned stays in their directories.
    """
    running = [directory for directory in _homes(target) if is_running(directory)]
    with console(stderr=True).status("stopping"):
        for directory in running:
            stop(directory)
    target.show([_look(directory) for directory in running], lambda stopped: Text(f"stopped {len(stopped)} daemons"))
    return None


@app.command("ls")
@with_target
def ls(target: Target) -> int | None:
    """List them."""
    target.show([_look(directory) for directory in _homes(target)], _render)
    return None


def _start_all(directories: Sequence[Path], flags: Sequence[str]) -> None:
    """Start at once, wait for all. If one fails, those started with it are stopped again."""
    started: list[Starting] = []
    try:
        started += [start(directory, [*flags, "--name", directory.name]) for directory in directories if not is_running(directory)]
        for daemon in started:
            daemon.ready()
    except (UserError, KeyboardInterrupt):
        for daemon in started:
            daemon.process.terminate()
        raise


def _invitation(founder: Path, uses: int) -> list[str]:
    """The flags with which others join the first daemon."""
    found = read_api_file(founder)
    client = Client(found.api, found.admin_token)
    address = client.get("/v1/node", NodeInfo).address
    return ["--bootstrap", address, "--token", client.post("/v1/tokens", TokenReply, TokenRequest(TOKEN_TTL_S, uses)).token]


def _look(directory: Path) -> Daemon:
    if not is_running(directory):
        return Daemon(str(directory), "stopped", "", "", "")
    try:
        found = read_api_file(directory)
        node = Client(found.api, found.admin_token, timeout_s=5.0).get("/v1/node", NodeInfo)
    except DaemonUnreachable:
        return Daemon(str(directory), "starting", "", "", "")
    return Daemon(str(directory), "ready" if node.ready else "starting", node.node_id, node.address, found.api)


def _home(target: Target) -> Path:
    return target.directory / "swarm"


def _homes(target: Target) -> list[Path]:
    home = _home(target)
    found = sorted(home.glob("node-*"), key=lambda path: (len(path.name), path.name))
    if not found:
        raise NotFound(f"There is no swarm in {home}: `moot swarm up` starts one.")
    return found


def _render(daemons: Sequence[Daemon]) -> RenderableType:
    rows = [[Path(one.data_dir).name, one.state, one.node_id, one.address, one.api] for one in daemons]
    where = Text(f"data in {Path(daemons[0].data_dir).parent}; talk to one with --api URL or --data-dir DIRECTORY", "dim")
    return Group(table(["name", "state", "node", "address", "api"], rows), where)
