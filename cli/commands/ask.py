"""`moot ask`: put a question to the swarm."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Annotated, Any

import msgspec
import typer

from cli.render import render_answer
from cli.target import EXIT_ABSTAINED, Target, console, with_target
from protocol.api.council import ConsensusAnswer, ConsensusRequest, Kind
from protocol.errors import InvalidRequest

app = typer.Typer(add_completion=False)

DEADLINE_S = 30.0
GRACE_S = 15.0
"""The daemon keeps the deadline and answers with what it has; the command waits this much longer for it."""


@app.command()
@with_target
def ask(
    target: Target,
    question: Annotated[str, typer.Argument(help="The question, or with --kind embedding a JSON list of numbers; `-`: standard input.")],
    choice: Annotated[list[str] | None, typer.Option("--choice", "-c", help="A possible answer; give two or more.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="What the answer is; by default a choice where choices are given.")] = None,
    agents: Annotated[int | None, typer.Option("--agents", min=1, max=64, help="How many agents to ask; by default up to 15.")] = None,
    quorum: Annotated[int | None, typer.Option("--quorum", min=1, max=64, help="Fewest votes that make an answer.")] = None,
    deadline: Annotated[float, typer.Option("--deadline", help="Seconds after which the votes that came must do.")] = DEADLINE_S,
    system: Annotated[str | None, typer.Option("--system", help="Instructions that every agent reads first.")] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Label the text with this labelling project: its heads vote, no panel is asked.")
    ] = None,
    brain: Annotated[str | None, typer.Option("--brain", help="Ask only agents of this brain.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, max=2.0, help="What text is sampled at; by default each agent's own.")
    ] = None,
) -> int | None:
    """Ask the swarm.

    Prints every vote, the answer, agreement and, apart from it, confidence. Exit code 4: the council abstained.
    """
    request = ConsensusRequest(
        question=None if kind == "embedding" else _question(question),
        embedding=_numbers(_question(question)) if kind == "embedding" else None,
        kind=kind,
        choices=choice or None,
        agents=agents,
        quorum=quorum,
        deadline_s=deadline,
        system=system,
        brain=brain,
        project=project,
        temperature=temperature,
    )
    client = target.client()
    with _waiting():
        answer = client.post("/v1/consensus", ConsensusAnswer, request, timeout_s=max(deadline, 0.0) + GRACE_S)
    target.show(answer, render_answer)
    return EXIT_ABSTAINED if answer.status == "abstained" else None


def _question(argument: str) -> str:
    if argument != "-":
        return argument
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise InvalidRequest("Standard input is not text in UTF-8: convert it first.") from error


def _numbers(text: str) -> list[float]:
    try:
        return msgspec.json.decode(text.encode(errors="replace"), type=list[float])
    except msgspec.MsgspecError as error:
        raise InvalidRequest("An embedding is a JSON list of numbers: write '[0.1, -0.2, ...]', or leave --kind out.") from error


def _waiting() -> AbstractContextManager[Any]:
    """A spinner on stderr, where that is a terminal."""
    return console(stderr=True).status("asking the swarm")
