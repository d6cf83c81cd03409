"""`moot config show|validate`: what a node here would start with, and whether a file is right."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.tables import table
from cli.target import Target, with_target
from node.config import Config, load_config, user_config_file
from protocol.errors import InvalidRequest

app = typer.Typer(add_completion=False, help="Show the configuration, or check a file.")

HIDDEN = "(set)"
SECRETS = ("token", "api_tokens", "remote_api_key")


@app.command("show")
@with_target
def show(target: Target, config: Annotated[Path | None, typer.Option("--config", help="A TOML file to read.")] = None) -> int | None:
    """Print every setting after flags, environment and files; secrets are hidden."""
    merged = load_config({"data_dir": target.data_dir}, os.environ, config)
    target.show(_plain(merged), _render)
    return None


@app.command("validate")
@with_target
def validate(
    target: Target, file: Annotated[Path | None, typer.Argument(help="A TOML file; by default the user's own.")] = None
) -> int | None:
    """Check a file: unknown names and impossible values are errors."""
    path = file or user_config_file()
    if file is None and not path.is_file():
        raise InvalidRequest(f"There is no configuration file {path}, which is fine: write one there, or name another to check.")
    merged = load_config({"data_dir": target.data_dir}, {}, path)
    target.show(_plain(merged), lambda _: Text(f"{path} is right."))
    return None


def _plain(config: Config) -> dict[str, Any]:
    """Plain data without secrets."""
    values: dict[str, Any] = {}
    for name in config.__struct_fields__:
        value = getattr(config, name)
        values[name] = HIDDEN if name in SECRETS and value else str(value) if isinstance(value, Path) else value
    return values


def _render(values: Mapping[str, Any]) -> RenderableType:
    return table(["setting", "value"], [[name, _text(name, value)] for name, value in values.items()])


def _text(name: str, value: Any) -> str:
    if value is None:
        return "(none)" if name in SECRETS else "(automatic)"
    return ", ".join(map(str, value)) or "(none)" if isinstance(value, list | tuple) else str(value)
