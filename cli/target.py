"""Which daemon a command means and how it prints: the options that every subcommand shares.

    @app.command()
    @with_target
    def status(target: Target) -> int | None: ...

gives `status` the options `--data-dir --api --api-token --json`. Flags go before the environment (`MOOT_API`, `MOOT_API_TOKEN` or
`MOOT_API_TOKEN_FILE`, `MOOT_DATA_DIR`), that before the default data directory, whose `api.json` names the daemon of this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli.options import graft
from protocol.errors import InvalidRequest, NotAuthorised, UserError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from cli.client import Client
    from protocol.api.nodes import ApiFile

T = TypeVar("T")

COMPLETE_VARIABLE = "_MOOT_COMPLETE"
"""Shells set it to ask for completions."""

PIPE_WIDTH = 160

EXIT_ERROR = 1
EXIT_UNREACHABLE = 3
EXIT_ABSTAINED = 4
EXIT_INTERRUPTED = 130


class DaemonUnreachable(UserError):
    """No daemon answers where the command looked."""

    exit_code = EXIT_UNREACHABLE
    kind = "daemon_unreachable"


@dataclass(frozen=True, slots=True)
class Target:
    """One daemon, and one way of printing."""

    data_dir: Path | None = None
    api: str | None = None
    api_token: str | None = None
    as_json: bool = False

    def client(self) -> Client:
        """A client of the daemon meant. Raises `DaemonUnreachable` when there is no trace of one."""
        from cli.client import Client

        if self.api and self.data_dir:
            raise InvalidRequest("Give --api or --data-dir, not both: each names a daemon.")
        token = self.api_token or os.environ.get("MOOT_API_TOKEN") or _secret_file("MOOT_API_TOKEN_FILE")
        url = self.api or (None if self.data_dir else os.environ.get("MOOT_API"))
        if url:
            return Client(url, token)
        found = read_api_file(self.directory)
        return Client(found.api, token or found.admin_token)

    @property
    def directory(self) -> Path:
        """The data directory meant: flag, environment, default."""
        if self.data_dir is not None:
            return self.data_dir.expanduser()
        if named := os.environ.get("MOOT_DATA_DIR"):
            return Path(named).expanduser()
        return default_data_dir()

    @property
    def is_local(self) -> bool:
        """Whether the daemon was found through a data directory of this machine."""
        return not self.api and (self.data_dir is not None or not os.environ.get("MOOT_API"))

    def show(self, value: T, render: Callable[[T], RenderableType]) -> None:
        """A result: the API's own JSON, or what people read."""
        if self.as_json:
            import msgspec

            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        else:
            console().print(render(value))

    def say(self, text: str) -> None:
        """A message for people."""
        print(text, file=sys.stderr)  # noqa: T201 - the command line talks


def console(*, stderr: bool = False) -> Console:
    """A rich console on stdout or stderr; honours NO_COLOR. What is piped elsewhere is wide, so that ids stay whole."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)


def report(error: UserError, as_json: bool) -> int:
    """One sentence on stderr, with --json an error object on stdout too; returns the exit code."""
    said = str(error).encode(errors="backslashreplace").decode()  # it may quote an argument that is not UTF-8
    print(f"moot: {said}", file=sys.stderr)  # noqa: T201 - the command line talks
    if as_json:
        import msgspec

        from protocol.api.faults import ErrorBody, ErrorReply

        body = ErrorReply(ErrorBody(error.kind, error.code, said, error.param))
        sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
    return error.exit_code


def default_data_dir() -> Path:
    """Where a node on this machine keeps its things; the same rule as `node.config`."""
    import platformdirs

    return Path(platformdirs.user_data_dir("moot", appauthor=False))


def read_api_file(directory: Path) -> ApiFile:
    """What the daemon of a data directory says about itself. Raises `DaemonUnreachable` or `NotAuthorised`."""
    import msgspec

    from protocol.api.nodes import ApiFile

    path = directory / "api.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=ApiFile)
    except PermissionError as error:
        raise NotAuthorised(f"{path} belongs to another user: run the command as that user, or give --api and --api-token.") from error
    except OSError as error:
        raise DaemonUnreachable(
            f"No daemon runs with the data directory {directory}: start one with `moot up`, or name one with --data-dir or --api."
        ) from error
    except msgspec.MsgspecError as error:
        raise DaemonUnreachable(f"{path} is damaged: stop the daemon and start it again.") from error


_PANEL = "Which daemon, which output"


def target_of(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="The daemon that uses this directory (env: MOOT_DATA_DIR).", rich_help_panel=_PANEL),
    ] = None,
    api: Annotated[
        str | None, typer.Option("--api", metavar="URL", help="The daemon at this address (env: MOOT_API).", rich_help_panel=_PANEL)
    ] = None,
    api_token: Annotated[
        str | None,
        typer.Option(
            "--api-token", metavar="SECRET", help="For --api (env: MOOT_API_TOKEN or MOOT_API_TOKEN_FILE).", rich_help_panel=_PANEL
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_PANEL)] = False,
) -> Target:
    """The options, as typer reads them."""
    return Target(data_dir, api, api_token, as_json)


with_target = graft(target_of)


def _secret_file(name: str) -> str | None:
    path = os.environ.get(name)
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidRequest(f"{name} names {path}, which cannot be read: {error.strerror}.") from error
