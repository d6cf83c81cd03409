"""A brain that says what a test tells it to say: no model, no weights, no time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from node.brains.base import Ask, Brain, Capabilities, Choice, Genome, Lesson, Progress, Proposal, TensorSpec
from protocol.errors import NotAvailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("choice", "boolean", "number", "text", "embedding")


def first_choice(ask: Ask) -> int | str:
    """The script of a brain that was given none."""
    return 0 if ask.choices else "42"


class ScriptedBrain(Brain):
    """`script(ask)` gives the index of the choice, or the text. A genome is one tensor, `gene` (4 numbers), and the setting `serial`."""

    def __init__(
        self,
        name: str = "scripted",
        *,
        script: Callable[[Ask], int | str] = first_choice,
        probability: float = 0.9,
        prior: Callable[[Ask], Sequence[float]] | None = None,
        capabilities: Capabilities | None = None,
        family: str | None = None,
        failure: str | None = None,
    ) -> None:
        """`probability` is what a chosen choice gets. `prior(ask)` gives probabilities (default: uniform). `failure`: why loading fails."""
        self.name = name
        self.family = family or name
        self.fingerprint = f"scripted {name}"
        self.capabilities = capabilities or Capabilities(frozenset(KINDS), instruct=True, learns=True, divides=True, embedding_dim=4)
        self.batches: list[int] = []
        """How many asks came in each call."""
        self.closed = False
        self._script = script
        self._probability = probability
        self._prior = prior
        self._failure = failure

    def load(self, progress: Progress) -> None:
        progress("reading the script", 0.5)
        if self._failure is not None:
            raise NotAvailable(self._failure)

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        self.batches.append(len(asks))
        return [Choice(self._logprobs(ask), self._prior_logprobs(ask)) for ask in asks]

    def propose(self, asks: Sequence[Ask], *, max_tokens: int, temperature: float, stop: Sequence[str] = ()) -> list[Proposal]:
        self.batches.append(len(asks))
        return [Proposal(str(self._script(ask)), -1.0) for ask in asks]

    def transform(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        """Each agent's own gene."""
        self.batches.append(len(asks))
        return [ask.genome.tensors["gene"] for ask in asks]

    def learn(self, lessons: Sequence[Lesson]) -> list[Genome]:
        """One more lesson in the settings, nothing else."""
        return [
            Genome(self.name, lesson.ask.genome.tensors, {**lesson.ask.genome.settings, "lessons": self._lessons(lesson) + 1})
            for lesson in lessons
        ]

    def seed(self, rng: random.Random) -> Genome:
        return self._genome(rng)

    def mutate(self, genome: Genome, rng: random.Random) -> Genome:
        return self._genome(rng)

    def schema(self) -> Mapping[str, TensorSpec]:
        return {"gene": TensorSpec((4,), "float32")}

    def close(self) -> None:
        self.closed = True

    def _genome(self, rng: random.Random) -> Genome:
        import numpy as np

        gene = np.array([rng.uniform(-1.0, 1.0) for _ in range(4)], np.float32)
        return Genome(self.name, {"gene": gene}, {"serial": rng.getrandbits(32)})

    def _logprobs(self, ask: Ask) -> tuple[float, ...]:
        chosen, others = self._script(ask), len(ask.choices) - 1
        rest = math.log((1.0 - self._probability) / others) if others else 0.0
        return tuple(math.log(self._probability) if index == chosen else rest for index in range(len(ask.choices)))

    def _prior_logprobs(self, ask: Ask) -> tuple[float, ...]:
        if self._prior is None:
            return (-math.log(len(ask.choices)),) * len(ask.choices)
        return tuple(math.log(share) for share in self._prior(ask))

    @staticmethod
    def _lessons(lesson: Lesson) -> int:
        count = lesson.ask.genome.settings.get("lessons", 0)
        return count if isinstance(count, int) else 0
