"""What a model's cell was told and what it chose, kept in its reports; and whether the one depends on the other.

A report's note ends with one line of JSON, a `Trace`. Over a run, the mutual information between what the neighbours' messages said and the
moves chosen tells whether the cells listen at all.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from protocol.api.runs import IterationInfo

NOTE = 2_000
"""Characters of a note, as `CellReport` allows."""
SHUFFLES = 200


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """One iteration of one cell."""

    heard: str = ""
    """What it was told of its neighbours' messages."""
    moves: list[str] = []
    """The moves it tried."""
    worked_s: float = 0.0
    """Seconds of a core for carrying moves out: relaxing, polishing, checking."""
    thought_s: float = 0.0
    """Its share of the seconds that the model took."""
    tokens: int = 0
    """Tokens of its prompts."""
    written: int = 0
    """Solutions that it wrote in words."""
    sound: int = 0
    """How many of them were valid as they stood, before any repair."""


def with_trace(prompt: str, trace: Trace) -> str:
    """A note: the prompt and the reply as far as there is room, then the trace."""
    line = msgspec.json.encode(trace).decode()
    return f"{prompt[: max(0, NOTE - len(line))]}\n{line}" if len(line) < NOTE else ""


def trace_of(note: str) -> Trace | None:
    """What `with_trace` put there; None where there is none. Notes come from other nodes."""
    try:
        return msgspec.json.decode(note.rpartition("\n")[2], type=Trace)
    except msgspec.MsgspecError:
        return None


def traces(iterations: Iterable[IterationInfo]) -> list[tuple[int, Trace]]:
    """Every trace of a run with its iteration."""
    found = [(one.iteration, trace_of(cell.note)) for one in iterations for cell in one.cells if cell.note]
    return [(iteration, trace) for iteration, trace in found if trace is not None]


class Information(msgspec.Struct, frozen=True):
    """Mutual information of messages and moves, in bits."""

    moves: int
    """How many moves it rests on."""
    bits: float
    """As counted: never below zero, and above it for finite samples even where nothing depends on anything."""
    null: float
    """The mean of `bits` when each iteration's messages are dealt anew among its cells: the bias."""
    corrected: float
    """`bits` less the null's mean; about zero where moves do not depend on messages."""
    null_95: float
    """95 of 100 such deals stay below this."""
    chance: float
    """The share of deals that reach `bits`: small where cells listen."""


def information(found: Sequence[tuple[int, Trace]], rng: random.Random) -> Information | None:
    """How much the moves tell about the messages; None where fewer than two cells chose.

    Moves that one cell chose at once come from one distribution, so the null deals whole cells' messages, and only among cells of
    the same iteration: what merely changes with time, or differs from cell to cell, is in the null as well.
    """
    found = [(iteration, trace) for iteration, trace in found if trace.moves]
    if len(found) < 2:
        return None
    heard = [trace.heard for _, trace in found]
    moves = [trace.moves for _, trace in found]
    bits = _bits(heard, moves)
    strata: dict[int, list[int]] = {}
    for index, (iteration, _) in enumerate(found):
        strata.setdefault(iteration, []).append(index)
    null = []
    for _ in range(SHUFFLES):
        dealt = list(heard)
        for places in strata.values():
            for place, source in zip(places, rng.sample(places, len(places)), strict=True):
                dealt[place] = heard[source]
        null.append(_bits(dealt, moves))
    null.sort()
    reached = sum(value >= bits - 1e-12 for value in null)
    mean = math.fsum(null) / SHUFFLES
    chance = (1 + reached) / (1 + SHUFFLES)
    return Information(sum(map(len, moves)), bits, mean, bits - mean, null[int(0.95 * SHUFFLES)], chance)


def _bits(heard: Sequence[str], moves: Sequence[Sequence[str]]) -> float:
    """The plug-in estimate."""
    joint = Counter((message, move) for message, chosen in zip(heard, moves, strict=True) for move in chosen)
    rows: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    for (message, move), count in joint.items():
        rows[message] += count
        columns[move] += count
    total = joint.total()
    bits = math.fsum(n / total * math.log2(n * total / (rows[message] * columns[move])) for (message, move), n in joint.items())
    return max(0.0, bits)
