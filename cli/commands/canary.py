"""`moot canary add FILE.jsonl`: hidden questions by which this node learns whom to believe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from cli.target import Target, with_target
from protocol.api.council import CanariesReply, CanariesRequest, CanaryInfo
from protocol.errors import InvalidRequest

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Hidden questions with known answers, mixed into this node's work.")

FIELDS = "one JSON object a line with id, topic, question, choices and answer"


@app.callback()
def canary() -> None:
    """Hidden questions with known answers, mixed into this node's work."""


@app.command()
@with_target
def add(
    target: Target,
    file: Annotated[Path, typer.Argument(help="JSON Lines: id, topic, question, choices, answer.", dir_okay=False)],
) -> int | None:
    """Add canaries; keep the file to yourself: a canary that others know measures nothing."""
    reply = target.client().post("/v1/canaries", CanariesReply, CanariesRequest(_read(file)))
    target.show(reply, lambda done: Text(f"This node has {done.hidden} hidden canar{'y' if done.hidden == 1 else 'ies'}."))
    return None


def _read(file: Path) -> list[CanaryInfo]:
    try:
        lines = [line for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise InvalidRequest(f"Cannot read {file} ({error.strerror}): give a JSON Lines file.", code="usage") from error
    canaries = []
    for number, line in enumerate(lines, 1):
        try:
            canaries.append(msgspec.json.decode(line, type=CanaryInfo))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"Line {number} of {file} is no canary: {error}; give {FIELDS}.", code="usage") from error
    if not canaries:
        raise InvalidRequest(f"{file} holds no canary: give {FIELDS}.", code="usage")
    return canaries
