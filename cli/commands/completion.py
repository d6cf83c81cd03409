"""`moot completion`: the script that completes commands in a shell."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # imported there, not declared

from cli.target import COMPLETE_VARIABLE, Target, with_target

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def completion(target: Target, shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Your shell.")] = "bash") -> int | None:
    """Print the script that completes commands.

    For bash: `eval "$(moot completion bash)"`.
    """
    script = get_completion_script(prog_name="moot", complete_var=COMPLETE_VARIABLE, shell=shell)
    target.show({"shell": shell, "script": script}, lambda made: made["script"])
    return None
