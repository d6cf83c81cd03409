"""`moot verify`: check a receipt, offline where it is a file."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from cli.client import in_path
from cli.tables import show_value
from cli.target import EXIT_ERROR, Target, with_target
from protocol.errors import InvalidRequest, UserError

if TYPE_CHECKING:
    from protocol.verification import VerifyReport

app = typer.Typer(add_completion=False)

MAX_FILE = 32 * 1024 * 1024


@app.command()
@with_target
def verify(
    target: Target,
    receipt: Annotated[str, typer.Argument(metavar="FILE|ID", help="A receipt's file, `-` for standard input, or an id to fetch it by.")],
    ca: Annotated[Path | None, typer.Option("--ca", help="The root certificate of the swarm you trust (PEM or DER).")] = None,
) -> int | None:
    """Check a receipt: recompute the answer from the signed votes.

    It proves who said what and that the arithmetic is right, not that it is true. Exit code 1: it does not hold.
    """
    from protocol.verification import verify_receipt

    root = None if ca is None else _root(ca)
    report = verify_receipt(_receipt(target, receipt), root)
    target.show(report, _render)
    return None if report.ok else EXIT_ERROR


def _receipt(target: Target, named: str) -> bytes:
    """The receipt's bytes. Raises `UserError`."""
    from protocol.identity import parse_id

    if named == "-":
        return sys.stdin.buffer.read(MAX_FILE)
    path = Path(named)
    try:
        if path.exists():
            if path.stat().st_size > MAX_FILE:
                raise InvalidRequest(f"{named} is larger than any receipt: check the name.")
            return path.read_bytes()
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror}): check that it is a file and that you may read it.") from error
    try:
        parse_id(named)
    except InvalidRequest as error:
        raise InvalidRequest(f"'{named}' is neither a file nor the id of a receipt: `moot ask` prints the id.") from error
    return msgspec.json.encode(target.client().get(f"/v1/receipts/{in_path(named)}", dict[str, Any]))


def _root(path: Path) -> bytes:
    """A certificate in DER form, from either form. Raises `InvalidRequest`."""
    try:
        raw = path.read_bytes()
        return ssl.PEM_cert_to_DER_cert(raw.decode("ascii").strip()) if raw.lstrip().startswith(b"-----BEGIN") else raw
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.", param="ca") from error
    except ValueError as error:
        raise InvalidRequest(f"{path} holds no certificate: give the swarm's root in PEM or DER form.", param="ca") from error


def _render(report: VerifyReport) -> RenderableType:
    lines: list[RenderableType] = [Text.assemble(("ok  ", "green"), check) for check in report.checks]
    if report.problem:
        lines.append(Text.assemble(("no  ", "red"), report.problem))
    if report.summary is not None:
        summary = report.summary
        said = show_value(summary.answer) if summary.status == "answered" else f"abstained ({summary.reason})"
        lines.append(Text.assemble("\n", (" ".join(summary.question.split()), "dim"), "\n", (said, "bold")))
        lines.append(Text(f"swarm {report.swarm_id}, asked through node {report.convener}", "dim"))
    lines.append(Text(report.text))
    return Group(*lines)
