"""A language model as a guest of the panel: agents that are shown corrections as solved examples, each its own, and choose a label.

The score of a label is its log-probability minus what the model says to no text at all (its prior; Zhao et al. 2021), averaged over
the agents. An agent never votes on a row that it was shown.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.brains.base import Ask, Choice, Example, Genome
from node.label.guests import Wish
from node.label.heads import softmax
from node.label.views import Matrix

AGENTS = 3
SHOTS = 16
"""Examples an agent is shown: one of each label first, so with more labels than this it does not know them all."""
SHARE = 2 / 3
"""Of the corrections an agent is shown at most: else, while they are few, all agents would be shown the same."""
SHOWN = 160
"""Characters of a text that a model reads: a prompt stays short whatever the rows are."""
TASK = 'What is this message about? "{}"'


@dataclass(frozen=True, slots=True)
class Round:
    """What a brain is asked for one wish; `rows[i]` says which of the wish's rows `asks[i]` is about."""

    asks: tuple[Ask, ...]
    rows: tuple[int, ...]
    labels: int

    def votes(self, choices: Sequence[Choice], size: int) -> Matrix:
        """Probabilities of shape (size, labels); a row that nobody could vote on is uniform."""
        total, voters = np.zeros((size, self.labels), np.float32), np.zeros(size, np.float32)
        for row, choice in zip(self.rows, choices, strict=True):
            scores = np.array(choice.logprobs, np.float32) - np.array(choice.prior, np.float32)
            total[row] += scores - scores.mean()
            voters[row] += 1
        return softmax(np.asarray(total / np.maximum(voters, 1)[:, None], np.float32))


def round_of(wish: Wish, labels: Sequence[str], brain: str, seed: int) -> Round:
    """The asks for `AGENTS` agents of this brain, each with its own examples."""
    rng = random.Random(seed)
    choices = tuple(readable(label) for label in labels[: wish.labels])
    asks, rows = [], []
    for _ in range(AGENTS):
        shown = _draw(wish, rng)
        examples = tuple(Example("labelling", _question(wish.known[at][0]), choices, choices[wish.known[at][1]]) for at in shown)
        hidden = {wish.known[at][0] for at in shown}
        for row, text in enumerate(wish.texts):
            if text not in hidden:
                asks.append(Ask(Genome(brain), _question(text), choices, examples=examples))
                rows.append(row)
    return Round(tuple(asks), tuple(rows), wish.labels)


def readable(label: str) -> str:
    """As a model would write it."""
    return label.replace("_", " ").strip() or label


def _question(text: str) -> str:
    return TASK.format(" ".join(text[:SHOWN].replace('"', "'").split()))


def _draw(wish: Wish, rng: random.Random) -> list[int]:
    """Which corrections an agent is shown: one of each label in turn, in an order of its own."""
    order = rng.sample(range(len(wish.known)), len(wish.known))
    rank: dict[int, int] = {}
    seen: dict[int, int] = {}
    for at in order:
        label = wish.known[at][1]
        rank[at] = seen[label] = seen.get(label, -1) + 1
    shown = sorted(order, key=lambda at: rank[at])[: min(SHOTS, round(len(order) * SHARE))]
    rng.shuffle(shown)
    return shown
