"""`moot doctor`: the usual troubles, in words, with what to do about each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from cli.checks import Finding, available_memory, check_directory, check_embedder, check_memory, check_ports, check_torch, check_weights
from cli.daemons import is_running
from cli.reach import check_bootstrap, check_clock, root_of, swarm_of
from cli.target import EXIT_ERROR, Target, console, with_target
from node.config import Config, load_config
from protocol.address import split_address

app = typer.Typer(add_completion=False)

MARKS = {"ok": ("ok  ", "green"), "warning": ("hm  ", "yellow"), "failed": ("no  ", "bold red"), "skipped": ("-   ", "dim")}


@app.command()
@with_target
def doctor(
    target: Target,
    bootstrap: Annotated[list[str] | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="A node to reach.")] = None,
    token: Annotated[str | None, typer.Option("--token", help="A join token of its swarm: lets UDP be tried before joining.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="As for `moot up`.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="As for `moot up`.")] = None,
    api_port: Annotated[int | None, typer.Option("--api-port", min=0, max=65_535, help="As for `moot up`.")] = None,
    brain: Annotated[list[str] | None, typer.Option("--brain", help="As for `moot up`.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="As for `moot up`.")] = None,
    embedder: Annotated[str | None, typer.Option("--embedder", help="As for `moot up`.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="As for `moot up`.")] = None,
) -> int | None:
    """Check this machine and the way to others.

    Give the flags that you would give `moot up`. Exit code 1: something failed.
    """
    flags = {
        "data_dir": target.data_dir,
        "bootstrap": bootstrap,
        "token": token,
        "host": host,
        "port": port,
        "api_port": api_port,
        "brains": brain,
        "model": model,
        "embedder": embedder,
    }
    merged = load_config(flags, os.environ, config)
    with console(stderr=True).status("looking"):
        findings = list(_examine(merged))
    target.show(findings, _render)
    return EXIT_ERROR if any(finding.state == "failed" for finding in findings) else None


def _examine(config: Config) -> Iterator[Finding]:
    from cli.reach import is_token

    running = is_running(config.data_dir)
    yield check_directory(config.data_dir, running)
    yield from check_ports(config.host, config.port, config.api_host, config.api_port, running)
    yield check_clock(config.data_dir)
    yield from check_weights(config.brains, config.model)
    yield check_memory(config.brains, available_memory())
    yield check_torch()
    yield check_embedder(root_of(config.data_dir), config.embedder, bool(config.bootstrap))
    if config.token is not None and not is_token(config.token):
        remedy = "Copy the whole line again that `moot token create` printed on a keeper."
        yield Finding("token", "failed", "What was given is no join token: it must read moot1-...-...-...", remedy)
    swarm = swarm_of(config.data_dir, config.token)
    for address in config.bootstrap:
        yield from check_bootstrap(*split_address(address), swarm)
    if not config.bootstrap:
        yield Finding("bootstrap", "skipped", "No address was given: try one with --bootstrap HOST:PORT.")


def _render(findings: Sequence[Finding]) -> RenderableType:
    lines = []
    for finding in findings:
        line = Text.assemble(MARKS[finding.state], (f"{finding.check}: ", "bold"), finding.text)
        if finding.remedy and finding.state != "ok":
            line.append(f"\n    {finding.remedy}", "cyan")
        lines.append(line)
    return Group(*lines)
