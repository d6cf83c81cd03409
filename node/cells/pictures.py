"""Pictures of a run: heat maps, the best solutions, score curves. Drawn by matplotlib in a process of its own, so that no node carries it.

`python -m node.cells.pictures` reads one MessagePack object from standard input and writes one, name -> content, to standard output.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from node.cells.traces import Trace, information, traces
from protocol.api.runs import IterationInfo
from protocol.errors import NotAvailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAW_S = 120.0
ROOT = str(Path(__file__).resolve().parents[2])
HEAT_MAPS = 24
"""Iterations that get a picture of their own: the first, the last, and evenly between."""
ROWS = 24
"""Messages in the picture of moves, the commonest."""
INK, ACCENT, FILL = "#22313f", "#c0392b", "#7fb3d5"


async def draw(size: int, iterations: Sequence[IterationInfo], solutions: Sequence[tuple[float, str]]) -> dict[str, bytes]:
    """Name -> PNG or SVG. Raises `NotAvailable` when matplotlib is missing or takes too long."""
    maps = [(one.iteration, [(cell.row, cell.column, cell.score) for cell in one.cells]) for one in iterations if one.cells]
    if len(maps) > HEAT_MAPS:
        maps = [maps[round(index * (len(maps) - 1) / (HEAT_MAPS - 1))] for index in range(HEAT_MAPS)]
    curve = [(one.iteration, one.worst, one.mean, one.best) for one in iterations]
    told = [(iteration, msgspec.to_builtins(trace)) for iteration, trace in traces(iterations)]
    request = msgspec.msgpack.encode({"size": size, "maps": maps, "curve": curve, "solutions": list(solutions), "told": told})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "node.cells.pictures", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": ROOT, "MPLBACKEND": "Agg"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(DRAW_S):
            out, _ = await process.communicate(request)
        if process.returncode:
            raise NotAvailable("No pictures were drawn: install matplotlib (pip install 'moot[cells]').")
        return msgspec.msgpack.decode(out, type=dict[str, bytes])
    except (TimeoutError, msgspec.MsgspecError) as error:
        raise NotAvailable("No pictures were drawn: matplotlib took too long.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    request = msgspec.msgpack.decode(sys.stdin.buffer.read())
    made: dict[str, bytes] = {}
    size, scores = request["size"], [score for _, cells in request["maps"] for _, _, score in cells]
    scale = (min(scores, default=0.0), max(scores, default=1.0))
    for number, cells in request["maps"]:
        _save(made, f"heat-{number:04d}", _heat_map(size, number, cells, scale), svg=False)
    if request["maps"]:
        fullest = max(len(cells) for _, cells in request["maps"])  # the clock may end the last iteration before all are through
        number, cells = next(one for one in reversed(request["maps"]) if len(one[1]) == fullest)
        _save(made, "heat", _heat_map(size, number, cells, scale))
    _save(made, "scores", _curve(request["curve"]))
    drawn = [(score, json.loads(text)) for score, text in request["solutions"] if text.startswith("{")]
    circles = [(score, what) for score, what in drawn if "centres" in what or "circles" in what]
    if circles:
        _save(made, "best", _packings(circles[:1]))
        _save(made, "best-k", _packings(circles))
    told = [(iteration, msgspec.convert(trace, Trace)) for iteration, trace in request["told"]]
    if told:
        made["messages.json"] = _messages(told)
    if any(trace.moves for _, trace in told):
        _save(made, "messages", _choices([trace for _, trace in told if trace.moves]))
    sys.stdout.buffer.write(msgspec.msgpack.encode(made))


def _messages(told: list[tuple[int, Trace]]) -> bytes:
    """Whether the cells listened, and how much of what they wrote was valid."""
    known = information(told, random.Random(0))
    found = {} if known is None else msgspec.to_builtins(known)
    for name in ("tokens", "written", "sound", "thought_s", "worked_s"):
        found[name] = sum(getattr(trace, name) for _, trace in told)
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def _choices(told: list[Trace]) -> Figure:
    """How often each move followed each message: rows that are alike are messages that change nothing."""
    import numpy as np
    from matplotlib.figure import Figure

    counts = Counter((trace.heard, move) for trace in told for move in trace.moves)
    common = Counter(trace.heard for trace in told for _ in trace.moves).most_common(ROWS)
    moves = sorted({move for _, move in counts})
    share = np.array([[counts[heard, move] / total for move in moves] for heard, total in common])
    figure = Figure(figsize=(2.6 + 0.42 * len(moves), 1.6 + 0.34 * len(common)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="viridis", vmin=0.0, aspect="auto")
    figure.colorbar(image, ax=axes, label="share of moves")
    axes.set_xticks(range(len(moves)), moves, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(common)), [f"{heard} ({total})" for heard, total in common], fontsize=7)
    axes.set_title("moves after each message of the neighbours", fontsize=9)
    return figure


def _heat_map(size: int, number: int, cells: list[Any], scale: tuple[float, float]) -> Figure:
    import numpy as np
    from matplotlib.figure import Figure

    grid = np.full((size, size), np.nan)
    for row, column, score in cells:
        grid[row, column] = score
    figure = Figure(figsize=(4.6, 4.0), layout="constrained")
    axes = figure.subplots()
    low, high = scale if scale[1] > scale[0] else (scale[0] - 1e-9, scale[0] + 1e-9)
    image = axes.imshow(grid, cmap="viridis", vmin=low, vmax=high)
    bar = figure.colorbar(image, ax=axes, label="score", format="%.6g")
    bar.ax.tick_params(labelsize=7)
    axes.set(title=f"iteration {number}: best {np.nanmax(grid):.9g}", xlabel="column", ylabel="row")
    axes.title.set_fontsize(10)
    if size <= 8:
        axes.set_xticks(range(size))
        axes.set_yticks(range(size))
    return figure


def _curve(curve: list[tuple[int, float, float, float]]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    numbers, worst, mean, best = zip(*curve, strict=True)
    axes.fill_between(numbers, worst, best, color=FILL, alpha=0.35, label="worst to best")
    axes.plot(numbers, mean, color=INK, label="mean", marker="." if len(curve) < 60 else "")
    axes.plot(numbers, best, color=ACCENT, label="best")
    axes.ticklabel_format(useOffset=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="iteration", ylabel="score", title="scores of all cells")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _packings(found: list[tuple[float, dict[str, Any]]]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    columns = math.ceil(math.sqrt(len(found)))
    rows = math.ceil(len(found) / columns)
    figure = Figure(figsize=(4.2 * columns, 4.4 * rows), layout="constrained")
    for axes, (score, what) in zip(figure.subplots(rows, columns, squeeze=False).ravel(), found, strict=False):
        circles = what.get("circles") or [[x, y, what["radius"]] for x, y in what["centres"]]
        touching = 0
        for x, y, radius in circles:
            axes.add_patch(Circle((x, y), radius, facecolor=FILL, edgecolor=INK, linewidth=0.8))
        for index, (x, y, radius) in enumerate(circles):
            for other_x, other_y, other in circles[:index]:
                if math.hypot(x - other_x, y - other_y) < radius + other + 1e-7:
                    axes.plot([x, other_x], [y, other_y], color=ACCENT, linewidth=1.0)
                    touching += 1
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"n = {len(circles)}, score {score:.12g}, {touching} contacts", fontsize=9)
    for axes in figure.axes[len(found) :]:
        axes.set_axis_off()
    return figure


def _save(made: dict[str, bytes], name: str, figure: Figure, *, svg: bool = True) -> None:
    for kind in ("png", "svg") if svg else ("png",):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=130 if kind == "png" else None)
        made[f"{name}.{kind}"] = content.getvalue()


if __name__ == "__main__":
    main()
