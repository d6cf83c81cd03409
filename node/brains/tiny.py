"""The seed experiment's agent as a brain: a 16-32-16 network (tanh) and a running memory of its answers.

It answers embedding questions of dimension 16, and choice questions on text: question and choices become 16-d vectors of hashed
byte n-grams, and a choice's logit is the mean product of the network's answer and the choice's vector. An untrained network is
therefore close to uniform: it knows nothing and does not pretend to. It learns from feedback by a few bounded proximal gradient steps
on the lesson and a few of those before it, and divides by Gaussian noise on weights and memory. The memory (0.9 old + 0.1 new answer)
is inherited and does not steer answers.

The agents asked are stacked: one matrix product for all of them, in torch, or in numpy where torch is missing (then it answers
and divides and does not learn). `tiny:head` (`head.py`) is the larger brother.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from node.brains.base import MAX_NOTES, Ask, Brain, Capabilities, Choice, Genome, Lesson, Progress, TensorSpec
from node.brains.replay import Note, drained, read_note
from node.brains.stack import Stack
from protocol.errors import Malformed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

DIM: Final = 16
HIDDEN: Final = 32
SIGMA: Final = 0.01
"""Standard deviation of the noise on a child's weights and memory; a genome may carry its own as setting `sigma`."""
MAX_SIGMA: Final = 0.5
KIN: Final = 0.5
"""Networks whose first layers are further apart than this share of their length are not mixed; unrelated ones are about 1.4 apart."""
LEARN_STEPS: Final = 5
LEARN_RATE: Final = 0.3
MAX_GRADIENT: Final = 1.0
"""Norm; so that one lesson moves a genome by at most LEARN_STEPS * LEARN_RATE * MAX_GRADIENT."""
REPLAYED: Final = 7
"""Earlier lessons that are learnt again with a new one; together they weigh as much as it does."""
PROXIMAL: Final = 1e-3
"""Pull back towards where the lesson found the weights."""
MAX_WEIGHT: Final = 1e6
"""Bound of a child's weights and memory."""
MAX_ANSWER: Final = 100.0
"""Bound of an answer's entries: a hostile genome has finite weights and could still overflow."""
MAX_CERTAIN: Final = 0.999
MAX_HASHED: Final = 16_384
"""Bytes of a text that are hashed."""
_NGRAMS: Final = (2, 3, 4)
_SCHEMA: Final[Mapping[str, TensorSpec]] = {
    "w1": TensorSpec((HIDDEN, DIM), "float32"),
    "b1": TensorSpec((HIDDEN,), "float32"),
    "w2": TensorSpec((DIM, HIDDEN), "float32"),
    "b2": TensorSpec((DIM,), "float32"),
    "memory": TensorSpec((DIM,), "float32"),
}
_WEIGHTS: Final = ("w1", "b1", "w2", "b2")


class TinyBrain(Brain):
    """All tiny agents of a node. Everything an agent is lies in its genome; the brain holds no weights."""

    name = "tiny:mlp"
    family = "tiny:mlp"
    fingerprint = hashlib.sha256(b"tiny 1: 16-32-16 tanh, hashed n-grams 2-4").hexdigest()
    capabilities = Capabilities(kinds=frozenset({"embedding", "choice", "boolean"}), divides=True, embedding_dim=DIM)

    def __init__(self, sigma: float = SIGMA) -> None:
        """`sigma`: of the agents seeded here."""
        self._sigma = sigma
        self._torch: Any = None
        self._past: deque[Lesson] = deque(maxlen=MAX_NOTES)
        """Lessons of this node without their agents; `notes` keeps those on choices."""
        self._notes: deque[bytes] = deque(maxlen=MAX_NOTES)
        self._rng = random.Random(DIM)  # which lessons are learnt again; equal lessons give equal genomes
        self._stacks = {name: Stack(partial(_stacked, name)) for name in _WEIGHTS}

    def load(self, progress: Progress) -> None:
        """Import torch where it is installed. Never fails for want of it."""
        progress("importing torch", 0.0)
        try:
            import torch
        except ImportError:
            progress("answering without torch: no learning", 1.0)
            return
        torch.set_num_threads(1)  # threads cost more than they bring at this size: 454 against 5,028 ms a step were measured
        self._torch = torch
        self.capabilities = Capabilities(self.capabilities.kinds, learns=True, divides=True, embedding_dim=DIM)
        progress("ready", 1.0)

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Log-probabilities of the choices; the prior is uniform, for this network has no habit of its own to take out."""
        import numpy as np

        questions = np.stack([features(ask.question) for ask in asks])[:, None]
        answers = self._forward([ask.genome for ask in asks], questions)[:, 0]
        return [_score(ask.choices, answer) for ask, answer in zip(asks, answers, strict=True)]

    def transform(self, asks: Sequence[Ask]) -> list[Vectors]:
        import numpy as np

        distinct = list(dict.fromkeys(ask.embedding for ask in asks))
        inputs = np.array(distinct, np.float32)[:, None]
        if len(distinct) > 1:  # one question to all is one row for all
            numbers = {embedding: number for number, embedding in enumerate(distinct)}
            inputs = inputs[[numbers[ask.embedding] for ask in asks]]
        return list(self._forward([ask.genome for ask in asks], inputs)[:, 0])

    def learn(self, lessons: Sequence[Lesson]) -> list[Genome]:
        """A few clipped gradient steps each: cross-entropy for a choice, mean squared error for a vector."""
        if not lessons:
            return []
        if self._torch is None:
            raise NotImplementedError("tiny learns only with torch installed")
        import numpy as np

        genomes = [lesson.ask.genome for lesson in lessons]
        weights = [self._torch.tensor(_stacked(name, genomes), requires_grad=True) for name in _WEIGHTS]
        start = [weight.detach().clone() for weight in weights]
        past = self._rng.sample(self._past, min(REPLAYED, len(self._past)))
        for _ in range(LEARN_STEPS):
            self._step(weights, start, lessons, past)
        self._keep(lessons)
        learnt = [weight.detach().numpy() for weight in weights]
        changed = []
        for row, lesson in enumerate(lessons):
            own = {name: np.ascontiguousarray(weight[row]) for name, weight in zip(_WEIGHTS, learnt, strict=True)}
            sound = all(bool(np.isfinite(weight).all()) for weight in own.values())
            changed.append(_with_tensors(lesson.ask.genome, own) if sound else lesson.ask.genome)
        return changed

    def notes(self) -> list[bytes]:
        return drained(self._notes)

    def recall(self, notes: Sequence[bytes]) -> None:
        for data in notes:
            try:
                note = read_note(data)
            except Malformed:
                continue
            vector = struct.unpack(f"<{len(note.vector) // 4}f", note.vector)
            if len(vector) == DIM and all(map(math.isfinite, vector)):
                self._past.append(Lesson(Ask(Genome(self.name), "", note.choices, vector), note.answer, note.score, note.rater))

    def _keep(self, lessons: Sequence[Lesson]) -> None:
        """For later: each lesson once, however many agents took it."""
        for lesson in {(lesson.ask.question, lesson.ask.embedding, lesson.correct, lesson.rater): lesson for lesson in lessons}.values():
            vector, choices = tuple(_input(lesson.ask)), lesson.ask.choices
            bare = Lesson(Ask(Genome(self.name), "", choices, vector), lesson.correct, lesson.score, lesson.rater)
            self._past.append(bare)
            if isinstance(bare.correct, int):
                packed = struct.pack(f"<{len(vector)}f", *vector)
                self._notes.append(msgspec.msgpack.encode(Note("", packed, choices, bare.correct, bare.score, bare.rater)))

    def remember(self, genome: Genome, answer: Vectors) -> Genome:
        return _with_tensors(genome, {"memory": (0.9 * genome.tensors["memory"] + 0.1 * answer).astype("float32")})

    def seed(self, rng: random.Random) -> Genome:
        """Uniform in plus or minus 1/sqrt(fan-in), torch's default for a linear layer; an empty memory."""
        import numpy as np

        generator = np.random.default_rng(rng.getrandbits(64))
        bounds = {"w1": DIM**-0.5, "b1": DIM**-0.5, "w2": HIDDEN**-0.5, "b2": HIDDEN**-0.5, "memory": 0.0}
        tensors = {name: generator.uniform(-bound, bound, _SCHEMA[name].shape).astype("float32") for name, bound in bounds.items()}
        return Genome(self.name, tensors, {"sigma": self._sigma})

    def mutate(self, genome: Genome, rng: random.Random) -> Genome:
        import numpy as np

        generator = np.random.default_rng(rng.getrandbits(64))
        noisy = {
            name: np.clip(tensor + generator.normal(0.0, _sigma(genome), tensor.shape), -MAX_WEIGHT, MAX_WEIGHT).astype("float32")
            for name, tensor in sorted(genome.tensors.items())
        }
        return _with_tensors(genome, noisy)

    def cross(self, genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
        """Each hidden unit, with all its weights, from one parent or the other; of the rest the mean. Kin only: in networks of unlike
        descent the units do not correspond."""
        import numpy as np

        ours, theirs = genome.tensors, other.tensors
        apart = np.linalg.norm(ours["w1"].astype(np.float64) - theirs["w1"])
        if not apart <= KIN * np.linalg.norm(ours["w1"].astype(np.float64)):
            return None
        own = np.array([rng.random() < 0.5 for _ in range(HIDDEN)])
        child = {
            "w1": np.where(own[:, None], ours["w1"], theirs["w1"]),
            "b1": np.where(own, ours["b1"], theirs["b1"]),
            "w2": np.where(own[None, :], ours["w2"], theirs["w2"]),
            **{name: 0.5 * ours[name] + 0.5 * theirs[name] for name in ("b2", "memory")},
        }
        return _with_tensors(genome, {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in child.items()})

    def schema(self) -> Mapping[str, TensorSpec]:
        return _SCHEMA

    def _forward(self, genomes: Sequence[Genome], inputs: Vectors) -> Vectors:
        """Each genome's network on its own inputs, or all on the same: (agents or 1, inputs, DIM) -> (agents, inputs, DIM)."""
        import numpy as np

        w1, b1, w2, b2 = (self._stacks[name].of(genomes) for name in _WEIGHTS)
        if self._torch is None:
            with np.errstate(over="ignore", invalid="ignore"):
                hidden = np.tanh(inputs @ w1.transpose(0, 2, 1) + b1[:, None])
                answers = hidden @ w2.transpose(0, 2, 1) + b2[:, None]
        else:
            with self._torch.no_grad():
                tensors = [self._torch.from_numpy(array) for array in (w1, b1, w2, b2, inputs)]
                answers = _network(tensors[:4], tensors[4]).numpy()
        bounded: Vectors = np.clip(np.nan_to_num(answers), -MAX_ANSWER, MAX_ANSWER)
        return bounded

    def _step(self, weights: list[Any], start: list[Any], lessons: Sequence[Lesson], past: Sequence[Lesson]) -> None:
        """One clipped gradient step for every lesson's own network."""
        torch = self._torch
        inputs = torch.tensor([[_input(lesson.ask), *(_input(one.ask) for one in past)] for lesson in lessons])
        answers = _network(weights, inputs)
        believed = lessons[0].believed
        loss = sum(self._loss(lesson, answer, believed) for lesson, answer in zip(lessons, answers[:, 0], strict=True))
        for number, one in enumerate(past, 1):
            loss = loss + self._loss(one, answers[:, number], believed).sum() / len(past)
        for weight, found in zip(weights, start, strict=True):
            loss = loss + 0.5 * PROXIMAL * (weight - found).pow(2).sum()
        gradients = torch.autograd.grad(loss, weights)
        norms = torch.stack([gradient.flatten(1).pow(2).sum(1) for gradient in gradients]).sum(0).sqrt()
        scale = LEARN_RATE * torch.clamp(MAX_GRADIENT / (norms + 1e-12), max=1.0)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= scale.reshape(-1, *[1] * (weight.dim() - 1)) * gradient

    def _loss(self, lesson: Lesson, answer: Any, believed: Callable[[bytes], float]) -> Any:
        """Of answers (..., DIM): one figure each."""
        import numpy as np

        torch, trust = self._torch, believed(lesson.rater)
        if not isinstance(lesson.correct, int):
            return (answer - torch.tensor(lesson.correct)).pow(2).mean(-1) * max(0.0, 2.0 * lesson.score - 1.0) * trust
        choices = torch.from_numpy(np.stack([features(choice) for choice in lesson.ask.choices]))
        logprob = torch.log_softmax(answer @ choices.T / DIM, -1)[..., lesson.correct]
        wrong = torch.log1p(-logprob.exp().clamp(max=MAX_CERTAIN))  # a complementary label (Ishida et al. 2017)
        return -(lesson.score * logprob + (1.0 - lesson.score) * wrong) * trust


@lru_cache(maxsize=4096)
def features(text: str) -> Vectors:
    """A text as DIM numbers of unit mean square: each byte n-gram adds a row of signs drawn from its hash (feature hashing,
    Weinberger et al. 2009). Zero for the empty text. Equal on every machine."""
    import numpy as np

    if not text:
        return np.zeros(DIM, np.float32)
    raw = np.frombuffer(b"\x02" + text.lower().encode("utf-8", "replace")[:MAX_HASHED] + b"\x03", np.uint8).astype(np.uint64)
    total = np.zeros(DIM)
    for size in _NGRAMS:
        hashes = np.full(max(0, raw.size - size + 1), size, np.uint64)
        for offset in range(size):
            hashes = hashes * np.uint64(0x100000001B3) + raw[offset : offset + hashes.size]
        mixed = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (mixed[:, None] >> np.arange(40, 40 + DIM, dtype=np.uint64)) & np.uint64(1)
        total += (bits.astype(np.int64) * 2 - 1).sum(0)
    vector: Vectors = (total / max(float(np.sqrt((total**2).mean())), 1e-12)).astype(np.float32)
    vector.flags.writeable = False  # shared by everyone who asks for this text
    return vector


def _network(weights: Sequence[Any], inputs: Any) -> Any:
    """The stacked networks in torch; `weights` in the order of `_WEIGHTS`."""
    w1, b1, w2, b2 = weights
    hidden = (inputs @ w1.transpose(1, 2) + b1[:, None]).tanh()
    return hidden @ w2.transpose(1, 2) + b2[:, None]


def _stacked(name: str, genomes: Sequence[Genome]) -> Vectors:
    import numpy as np

    return np.stack([genome.tensors[name] for genome in genomes])


def _input(ask: Ask) -> list[float]:
    return list(ask.embedding) if ask.embedding else [float(value) for value in features(ask.question)]


def _score(choices: tuple[str, ...], answer: Vectors) -> Choice:
    """The choices against an answer of shape (DIM,)."""
    import numpy as np

    logits = np.stack([features(choice) for choice in choices]).astype(np.float64) @ answer.astype(np.float64) / DIM
    shifted = logits - logits.max()
    logprobs = shifted - np.log(np.exp(shifted).sum())
    return Choice(tuple(map(float, logprobs)), (-math.log(len(choices)),) * len(choices))


def _with_tensors(genome: Genome, changed: Mapping[str, Vectors]) -> Genome:
    return Genome(genome.brain, {**genome.tensors, **changed}, genome.settings)


def _sigma(genome: Genome) -> float:
    """A genome's own noise, where it is a sane number: settings come from peers."""
    sigma = genome.settings.get("sigma")
    return min(float(sigma), MAX_SIGMA) if isinstance(sigma, int | float) and sigma >= 0 else SIGMA
