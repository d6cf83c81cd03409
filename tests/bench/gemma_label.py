"""Nine Gemma agents label a sentence: how long it takes and what it holds, in a process of its own.

Each agent is shown six solved examples of its own and chooses between two answers. *Warm*: the agents' examples were read before, as
they are from the second question of a topic on. *Cold*: everything is read anew, content-free questions included.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from node.runtime import SystemRuntime

AGENTS = 9
TASK = 'Is this movie review positive or negative? "{}"'
CHOICES = ("positive", "negative")
SENTENCES = (
    "I would watch it again this evening if I could.",
    "It takes forever to begin and then it does not know how to end.",
    "The best ensemble of the year in its best story.",
    "Nobody on the screen seems to believe a word of it.",
    "Gentle, odd and completely winning.",
    "A chore.",
    "There is more life in its first five minutes than in most films of this spring.",
    "The effects are cheap, and the jokes are cheaper.",
    "I laughed, I cried, and I told all my friends to go.",
)


def measure() -> dict[str, float]:
    """Figures in seconds and megabytes. Two processes: the first finds an empty cache (weights in parts, nothing compiled)."""
    with TemporaryDirectory() as cache:
        first, second = _child(cache), _child(cache)
    return {"first_start_to_ready_s": first["start_to_ready_s"], "first_start_to_answer_s": first["start_to_answer_s"], **second}


def _child(cache: str) -> dict[str, float]:
    started = SystemRuntime().monotonic()
    command = [sys.executable, "-m", "tests.bench.gemma_label", repr(started), cache]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(started: float, cache: Path) -> dict[str, float]:
    """`started`: the monotonic clock when this process was started."""
    from node.brains.gemma.brain import GemmaBrain

    clock = SystemRuntime().monotonic
    brain = GemmaBrain(SystemRuntime(), cache_dir=cache)
    brain.load(lambda what, fraction: None)
    loaded = clock() - started
    ask = _asker(brain)
    ask(SENTENCES[0])
    answered = clock() - started
    warm, cold = [], []
    for sentence in SENTENCES * 2:
        warm.append(_timed(clock, partial(ask, sentence)))
    for sentence in SENTENCES[:5]:
        brain.forget()
        cold.append(_timed(clock, partial(ask, sentence)))
    canaries, again = (_timed(clock, partial(_canaries, brain)) for _ in range(2))
    return {
        "start_to_ready_s": loaded,
        "start_to_answer_s": answered,
        "warm_p50_s": statistics.median(warm),
        "warm_worst_s": max(warm),
        "cold_p50_s": statistics.median(cold),
        "canaries_cold_s": canaries,
        "canaries_warm_s": again,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * (1024 if sys.platform == "darwin" else 1)),
    }


def _asker(brain: Any) -> Callable[[str], object]:
    from node.brains.base import Ask
    from node.brains.examples import pick

    genomes = [brain.seed(random.Random(number)) for number in range(AGENTS)]
    shown = [(genome, pick(genome.settings["examples"], "sentiment")) for genome in genomes]
    return lambda sentence: brain.choose([Ask(genome, TASK.format(sentence), CHOICES, examples=examples) for genome, examples in shown])


def _canaries(brain: Any) -> None:
    """One agent answers the shipped canaries."""
    from node.brains.base import Ask
    from node.brains.examples import pick

    genome = brain.seed(random.Random(AGENTS))
    rows = [json.loads(line) for line in files("node.council").joinpath("canaries.jsonl").read_text("utf-8").splitlines()]
    brain.choose(
        [Ask(genome, row["question"], tuple(row["choices"]), examples=pick(genome.settings["examples"], row["topic"])) for row in rows]
    )


def _timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    started = clock()
    work()
    return clock() - started


if __name__ == "__main__":
    print(json.dumps(_measure(float(sys.argv[1]), Path(sys.argv[2]))))
