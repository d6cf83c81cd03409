"""`moot feedback`: say how good an answer was."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from cli.target import Target, with_target
from protocol.api.council import FeedbackReply, FeedbackRequest

app = typer.Typer(add_completion=False)


@app.command()
@with_target
def feedback(
    target: Target,
    receipt: Annotated[str, typer.Argument(metavar="ID", help="The receipt id that `moot ask` printed.")],
    score: Annotated[float, typer.Argument(min=0, max=1, help="0 wrong, 1 right, or between.")],
    correct: Annotated[str | None, typer.Option("--correct", help="The right answer itself: agents that can, learn it.")] = None,
) -> int | None:
    """Rate an answer; the fitness of the agents that voted moves."""
    reply = target.client().post("/v1/feedback", FeedbackReply, FeedbackRequest(receipt, score, correct))
    target.show(reply, _render)
    return None


def _render(reply: FeedbackReply) -> Text:
    told = f"Told {reply.agents} agents."
    return Text(told + (f" Not reached: {', '.join(reply.unreachable)}." if reply.unreachable else ""))
