"""The brain contract, on one page.

A *brain* is a model loaded once per node; an *agent* is a brain plus a `Genome`. A brain answers for many agents in one call
(everything that agents on one node ask in one tick is one batch) and is plain blocking code: the agent host runs it in one
worker thread per brain, so a brain needs no locks.

    choose   (asks with choices)      -> log-probabilities over the choices, and the model's prior over the same choices
    propose  (asks with free text)    -> texts with their log-probability
    transform(asks with an embedding) -> answer vectors
    learn    (feedback)               -> new genomes, where `capabilities.learns`
    seed / mutate / cross             -> genomes: what replication copies and changes
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

    import numpy as np
    from numpy.typing import NDArray

MAX_NOTES: Final = 2_048
"""Notes of one brain that the book keeps; the oldest go first."""
REST: Final = 200
"""`Capabilities.rest` of a language model: about as many questions as measuring a child takes."""
Progress = Callable[[str, float], None]
"""`progress(what, fraction)`; fraction in [0, 1]. Called from a worker thread."""


@dataclass(frozen=True, slots=True)
class Example:
    """One solved question: what an agent's few-shot memory holds."""

    topic: str
    question: str
    choices: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a tensor of a genome must look like before it is loaded."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Genome:
    """What replication copies and mutates. `settings` is plain data (str, int, float, bool, None, list, dict)."""

    brain: str
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """One agent's question to its brain. Exactly one of `question` and `embedding` carries the content."""

    genome: Genome
    question: str = ""
    choices: tuple[str, ...] = ()
    embedding: tuple[float, ...] = ()
    system: str = ""
    examples: tuple[Example, ...] = ()
    temperature: float | None = None
    """What to sample at when a text is written, whatever the call and the genome say; None: by those."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Normalised natural log-probabilities over `Ask.choices`, and the same for content-free inputs (the prior)."""

    logprobs: tuple[float, ...]
    prior: tuple[float, ...]
    prompt_tokens: int = 0
    """Tokens of the prompt, what it shares with others included; 0 where the brain does not count."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A text, the sum of its token log-probabilities, and how many tokens went in and came out."""

    text: str
    logprob: float
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """Feedback for one agent: the question it was asked, and how right an answer to it was."""

    ask: Ask
    correct: int | tuple[float, ...]
    """The answer that is rated: an index into the choices, or a vector. With a score of 1 it is the right one."""
    score: float = 1.0
    """0: that answer was wrong, and the right one stays unknown."""
    rater: bytes = b""
    """Who says so; empty for this node's own word."""
    believed: Callable[[bytes], float] = lambda rater: 1.0
    """How far each rater is believed now, 0 to 1: what was learnt from it before is learnt again by this measure."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a brain can do; the council asks an agent only what its brain can answer."""

    kinds: frozenset[str]
    """Subset of {"choice", "boolean", "number", "text", "embedding"}."""
    instruct: bool = False
    """Fit to write free text for people (an instruction-tuned model)."""
    learns: bool = False
    divides: bool = False
    """Its genome can be mutated in a way that changes its answers."""
    rest: int = 0
    """Answers between two divisions of an agent, at least: a language model must first read a child's examples and be measured."""
    embedding_dim: int | None = None
    any_embedding: bool = False
    """Answers choice questions about embeddings of any dimension."""


class Brain(ABC):
    """A model loaded once per node. Implementations are blocking and single-threaded."""

    name: str
    """As given to `--brain` and shown to people: `tiny`, `gemma:270m`, `remote:llama3`."""
    family: str
    """Agents of one family err alike; the panel caps votes per family."""
    fingerprint: str
    """Hex digest of weights and code version that decide the answers."""
    capabilities: Capabilities
    outside: bool = False
    """Whether what it is asked is sent to another machine: to `place`."""
    place: str = ""

    @property
    def tokens_read(self) -> int:
        """Tokens that the model has computed since it was loaded, padding left out; 0 where the brain does not count."""
        return 0

    @abstractmethod
    def load(self, progress: Progress) -> None:
        """Load weights and warm up. Raises `UserError` with the remedy when it cannot."""

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Score the choices of each ask."""
        raise NotImplementedError(f"{self.name} does not choose")

    def propose(self, asks: Sequence[Ask], *, max_tokens: int, temperature: float, stop: Sequence[str] = ()) -> list[Proposal]:
        """Write one text per ask."""
        raise NotImplementedError(f"{self.name} does not write text")

    def transform(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        """Answer embedding questions; shape (capabilities.embedding_dim,)."""
        raise NotImplementedError(f"{self.name} does not answer embeddings")

    def learn(self, lessons: Sequence[Lesson]) -> list[Genome]:
        """The genomes of the lessons' agents after learning, in order."""
        raise NotImplementedError(f"{self.name} does not learn")

    def remember(self, genome: Genome, answer: NDArray[np.float32]) -> Genome:
        """The genome after its agent gave this embedding answer. What it keeps must not change how the agent chooses."""
        return genome

    @abstractmethod
    def seed(self, rng: random.Random) -> Genome:
        """A fresh genome for a first-generation agent."""

    def mutate(self, genome: Genome, rng: random.Random) -> Genome:
        """A child's genome. Only where `capabilities.divides`."""
        raise NotImplementedError(f"{self.name} does not divide")

    def cross(self, genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
        """What a child of both starts from, before `mutate`; None where these two cannot be mixed."""
        return None

    def reword(self, text: str) -> str | None:
        """The text in the model's own words; None where it cannot write."""
        return None

    def schema(self) -> Mapping[str, TensorSpec]:
        """Names, shapes and dtypes that a genome of this brain may carry, exactly."""
        return {}

    def notes(self) -> list[bytes]:
        """What was learnt since the last call and lies in no genome, as records for the book. Safe to call while another thread learns."""
        return []

    def recall(self, notes: Sequence[bytes]) -> None:  # noqa: B027 - most brains keep no notes
        """Take up the notes of an earlier life, oldest first, after loading; what is damaged or foreign is left out."""

    def close(self) -> None:  # noqa: B027 - most brains have nothing to release
        """Release memory."""
