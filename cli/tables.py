"""What every screen is made of: tables, lists of facts, and values as people write them. Text from elsewhere is never read as markup."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

SHORT = 8
ANSWER_WIDTH = 60
VECTOR_SHOWN = 4
WIDEST = 10_000
"""Wider than any table."""

Value = str | float | bool | list[float] | None


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Iterable[int] = (), empty: str = "") -> RenderableType:
    """A plain table; `right` are the columns of numbers; `empty` is said when there are no rows."""
    if not rows and empty:
        return Text(empty)
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    return _Fitting(columns, cells, frozenset(right))


class _Fitting:
    """A table, or where the screen is too narrow for one a block of lines for each row: ids stay whole, so that they can be copied."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Text]], right: Collection[int]) -> None:
        self._columns = columns
        self._rows = rows
        self._right = right

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(self._columns):
            drawn.add_column(column, justify="right" if index in self._right else "left", overflow="fold")
        for row in self._rows:
            drawn.add_row(*row)
        wide = console.measure(drawn, options=options.update(max_width=WIDEST)).maximum
        if wide <= options.max_width or len(self._columns) <= 2:
            yield drawn
            return
        for number, row in enumerate(self._rows):
            if number:
                yield Text()
            yield facts([(name, cell) for name, cell in zip(self._columns, row, strict=True) if cell.plain])


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """A name and what it is, a line each."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        drawn.add_row(name, value)
    return drawn


def show_value(value: Value) -> str:
    """An answer on one line."""
    if value is None:
        return "(no opinion)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        shown = ", ".join(f"{number:.3f}" for number in value[:VECTOR_SHOWN])
        return f"[{shown}{', ...' if len(value) > VECTOR_SHOWN else ''}] ({len(value)} numbers)"
    line = " ".join(value.split())
    return line if len(line) <= ANSWER_WIDTH else f"{line[: ANSWER_WIDTH - 3]}..."


def show_duration(seconds: float) -> str:
    """The two largest units: `2d 3h`, `4m 5s`."""
    parts, rest = [], max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def show_date(at: float) -> str:
    """Wall clock in seconds for people; as it is where a peer claimed what is no date."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return str(at)


def short(identifier: str) -> str:
    """Enough of an id to tell it from others on a screen."""
    return identifier[:SHORT]


def state_style(state: str) -> str:
    """The colour of a node's, brain's or run's state."""
    return {"alive": "green", "ready": "green", "done": "green", "ok": "green", "failed": "red", "dead": "red"}.get(state, "yellow")
