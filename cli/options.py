"""Options that several commands share, declared once.

@app.command()
@graft(target_of)                 # a function whose parameters are the options and whose result is what they mean
def status(target: Target): ...   # gets the result as first parameter
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

P = ParamSpec("P")
T = TypeVar("T")

Command = Callable[..., int | None]


def graft(declaration: Callable[..., T]) -> Callable[[Callable[Concatenate[T, P], int | None]], Command]:
    """Replace a command's first parameter by the parameters of `declaration`, which is called to make it."""
    shared = _parameters(declaration)

    def decorate(command: Callable[Concatenate[T, P], int | None]) -> Command:
        own = _parameters(command)[1:]

        @functools.wraps(command)
        def wrapper(**given: Any) -> int | None:
            made = declaration(**{parameter.name: given.pop(parameter.name) for parameter in shared})
            run: Callable[..., int | None] = command
            return run(made, **given)

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in inspect.signature(function).parameters.values()]
