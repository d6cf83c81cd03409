"""`moot`: finds the command, runs it, and turns whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cli.target import COMPLETE_VARIABLE, EXIT_INTERRUPTED, report
from protocol.errors import InvalidRequest, PeerError, UserError

COMMANDS = {
    "up": "up",
    "join": "up",
    "leave": "leave",
    "stop": "stop",
    "swarm": "swarm",
    "status": "status",
    "peers": "peers",
    "agents": "agents",
    "ask": "ask",
    "label": "label",
    "feedback": "feedback",
    "verify": "verify",
    "memory": "memory",
    "canary": "canary",
    "solve": "solve",
    "runs": "runs",
    "token": "token",
    "doctor": "doctor",
    "config": "config",
    "lab": "lab",
    "demo": "demo",
    "completion": "completion",
}
"""Command -> module in `cli.commands`. A module with an attribute `<command>_app` uses that, otherwise `app`."""


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is typed (or listed)."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # completion: what is typed is no mistake yet
                return None
            ctx.fail(f"There is no command '{cmd_name}'{nearest(cmd_name, COMMANDS)}")
        if cmd_name not in self.commands:
            module = importlib.import_module(f"cli.commands.{COMMANDS[cmd_name]}")
            command = typer.main.get_command(getattr(module, f"{cmd_name}_app", None) or module.app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]


app = typer.Typer(cls=LazyGroup, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"moot {version('moot')}")
        except PackageNotFoundError:
            typer.echo("moot, from a clone that is not installed")
        raise typer.Exit


@app.callback()
def moot(
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    """A swarm of small local models that answers with a consensus anyone can check."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    if COMPLETE_VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # imported there, not declared

        completion_init()
    args = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in itertools.takewhile(lambda argument: argument != "--", args)
    try:
        code = typer.main.get_command(app).main(args=args, prog_name="moot", standalone_mode=False)
    except UserError as error:
        return report(error, as_json)
    except PeerError as error:
        return report(UserError(f"{str(error).rstrip('.')}."), as_json)
    except typer.TyperException as error:
        return report(InvalidRequest(_usage(error), code="usage"), as_json)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """The process of `moot`."""
    code = run()
    if "node.daemon" in sys.modules:
        # Everything is on disk and said. Interpreter shutdown would wait for, or crash in, a model that still computes in its thread.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def nearest(typed: str, known: Iterable[str]) -> str:
    """`; did you mean 'status'?`, or nothing where no name is near."""
    import difflib

    found = difflib.get_close_matches(typed, known, 1)
    return f"; did you mean '{found[0]}'?" if found else ""


def _usage(error: typer.TyperException) -> str:
    """typer's complaint on one line, and where to read on."""
    said = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "") or "Something is missing"
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "moot"
    if context is not None and said == "Missing command":
        said = f"'{path}' wants one of {', '.join(context.command.list_commands(context))}"
    return f"{said}{' ' if said.endswith('?') else ': '}see `{path} --help`."
