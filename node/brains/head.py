"""`tiny:head`: about 100k parameters over a view of shared random features, for choice questions on texts and on embeddings.

    question -> unit vector -> bank of random features (once) -> an agent's view (512 of 4,096) -> W (512 x 192) -> answer vector
    a choice's logit = answer vector . the choice's signature (192 signs from its hash)

So an agent takes any choices and any dimension, and starts near uniform. It learns on-line from "that answer was right" or "that
answer was wrong" alone: cross-entropy towards a right answer, and for a wrong one the loss -log(1 - p) of complementary labels (Ishida
et al. 2017). Each lesson is a few proximal gradient steps on a batch of it and of earlier lessons of the same choices (`replay`), and
moves the weights by a bounded length; agents take the same earlier lessons to heart differently (`losses.shares`). Because a set of K
choices touches W only through K signatures, a step works on (512 x K) coefficients and W is written once a lesson. For the same reason
many agents that are asked about the same choices again, and learnt nothing in between, are one product of stacked (512 x K) weights.
Plain numpy: no torch.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from node.brains.base import MAX_NOTES, Ask, Brain, Capabilities, Choice, Genome, Lesson, Progress, TensorSpec
from node.brains.embedders import Embedders
from node.brains.head_genome import WIDTH, crossed, mutated, rate_of, seeded, view_number
from node.brains.losses import Believed, shares, slopes
from node.brains.replay import Note, Remembered, Replay, drained, mark_of, read_note
from node.brains.stack import Stack, folded
from node.brains.views import bank_features, ngrams, signatures, unit, view
from protocol.errors import Malformed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from node.brains.embedder import Embedder

    Floats = NDArray[np.float32]

HIDDEN: Final = 512
BANK: Final = 4_096
STEPS: Final = 4
BATCH: Final = 64
DECAY: Final = 1e-3
"""Pull back towards where the lesson found the weights: the proximal term."""
MAX_DRIFT: Final = 4.0
"""Length by which one lesson may move an agent's weights."""
MAX_LOGIT: Final = 30.0
MAX_FOLDS: Final = 2
MAX_FOLDED: Final = 16
"""Sets of choices whose folded weights are kept, and choices of such a set: 33 MB for a thousand agents."""
MAX_TEXTS: Final = 1_024
"""Texts remembered as vectors."""


class HeadBrain(Brain):
    """All tiny heads of a node. Weights are the genomes'; the brain keeps their stack and the lessons to learn again."""

    name = "tiny:head"
    family = "tiny:head"

    def __init__(
        self,
        *,
        hidden: int = HIDDEN,
        bank: int = BANK,
        steps: int = STEPS,
        batch: int = BATCH,
        bagging: bool = True,
        embedder: Callable[[], Embedder] | None = None,
    ) -> None:
        """Anything other than usual: for measurements (without `bagging` every lesson counts alike, as for a model that stands alone).
        `embedder` makes the text embedder (default: the best installed)."""
        self._steps, self._batch, self._bagging = steps, batch, bagging
        self._hidden = hidden
        self._bank = bank
        self._make_embedder = embedder
        self._embedder: Embedder | None = None
        self._folds: OrderedDict[tuple[str, ...], Stack] = OrderedDict()
        self._views = Stack(self._views_of)
        self._replay = Replay()
        self._notes: deque[bytes] = deque(maxlen=MAX_NOTES)
        self._texts: OrderedDict[str, Floats] = OrderedDict()
        self._rng = random.Random(hidden)  # which lessons are learnt again; equal lessons give equal genomes
        self.capabilities = Capabilities(frozenset({"choice", "boolean"}), learns=True, divides=True, any_embedding=True)
        self.fingerprint = hashlib.sha256(f"tiny:head 1: {hidden}/{bank}x{WIDTH}".encode()).hexdigest()

    def load(self, progress: Progress) -> None:
        """Load the text embedder."""
        progress("loading the text embedder", 0.0)
        self._embedder = (self._make_embedder or Embedders().best)()
        label = f"tiny:head 1: {self._hidden}/{self._bank}x{WIDTH}, {self._embedder.name}"
        self.fingerprint = hashlib.sha256(label.encode()).hexdigest()
        progress("ready", 1.0)

    # ---- answering ------------------------------------------------------------------------------------------------

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Log-probabilities of the choices; the prior is uniform: a head has no habit that is not learnt."""
        import numpy as np

        genomes = [ask.genome for ask in asks]
        seen = self._seen(genomes, *self._inputs(asks))
        found: list[Choice | None] = [None] * len(asks)
        by_choices: dict[tuple[str, ...], list[int]] = {}
        for row, ask in enumerate(asks):
            by_choices.setdefault(ask.choices, []).append(row)
        for choices, rows in by_choices.items():
            logits = self._logits([genomes[row] for row in rows], seen if len(rows) == len(asks) else seen[rows], choices)
            shifted = logits - logits.max(1, keepdims=True)
            logprobs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
            prior = (-math.log(len(choices)),) * len(choices)
            for row, own in zip(rows, logprobs.tolist(), strict=True):
                found[row] = Choice(tuple(own), prior)
        return [choice for choice in found if choice is not None]

    def _seen(self, genomes: Sequence[Genome], inputs: Sequence[Floats], which: Sequence[int]) -> Floats:
        """What each agent sees of its question, (agents, hidden); agent `i` is asked `inputs[which[i]]`."""
        import numpy as np

        views = self._views.of(genomes)
        if len(inputs) == 1:
            return np.asarray(self._features(inputs[0])[views])
        seen = np.empty((len(genomes), self._hidden), np.float32)
        for number, x in enumerate(inputs):
            rows = [row for row, own in enumerate(which) if own == number]
            seen[rows] = self._features(x)[views[rows]]
        return seen

    def _logits(self, genomes: Sequence[Genome], seen: Floats, choices: tuple[str, ...]) -> NDArray[np.float64]:
        """(agents, choices). Many agents asked about the same choices again are one product of their folded weights."""
        import numpy as np

        folded = self._folds_of(choices).again(genomes) if len(choices) <= MAX_FOLDED else None
        with np.errstate(over="ignore", invalid="ignore"):
            if folded is not None:
                logits = np.matmul(folded, seen[:, :, None])[:, :, 0]
            else:
                answers = np.stack([own @ genome.tensors["w"] for own, genome in zip(seen, genomes, strict=True)])
                logits = answers @ signatures(choices, WIDTH).T
        bounded = np.clip(np.nan_to_num(logits, posinf=0.0, neginf=0.0), -MAX_LOGIT, MAX_LOGIT)
        return np.asarray(bounded, np.float64)

    def _folds_of(self, choices: tuple[str, ...]) -> Stack:
        """The stack of weights folded with these choices' signatures: (agents, choices, hidden) instead of (agents, hidden, WIDTH)."""
        if choices not in self._folds:
            self._folds[choices] = Stack(partial(folded, signatures(choices, WIDTH)))
        self._folds.move_to_end(choices)
        if len(self._folds) > MAX_FOLDS:
            self._folds.popitem(last=False)
        return self._folds[choices]

    def _features(self, x: Floats) -> Floats:
        """The whole bank for one input, (bank,), so scaled that a view has length 1."""
        import numpy as np

        return np.asarray(bank_features(x[None], self._bank)[0] / math.sqrt(self._hidden), np.float32)

    def _inputs(self, asks: Sequence[Ask]) -> tuple[list[Floats], list[int]]:
        """The distinct questions as they are seen, each (dim,) of length 1, and which of them each ask puts."""
        import numpy as np

        numbers: dict[tuple[float, ...] | str, int] = {}
        which = [numbers.setdefault(ask.embedding or ask.question, len(numbers)) for ask in asks]
        read = self._recall([content for content in numbers if isinstance(content, str)])
        inputs = [read[content] if isinstance(content, str) else unit(np.array([content], np.float32))[0] for content in numbers]
        return inputs, which

    def _recall(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Texts as they were read before (canaries come back after every lesson), the new ones in one batch."""
        fresh = [text for text in texts if text not in self._texts]
        found = {text: self._texts[text] for text in texts if text in self._texts}
        if fresh:
            found |= dict(zip(fresh, self._read(fresh), strict=True))
        for text in texts:
            self._texts[text] = found[text]
            self._texts.move_to_end(text)
        while len(self._texts) > MAX_TEXTS:
            self._texts.popitem(last=False)
        return found

    def _read(self, texts: Sequence[str]) -> Floats:
        import numpy as np

        if self._embedder is None:
            raise RuntimeError("tiny:head is asked before it is loaded")
        return unit(np.concatenate([self._embedder.embed(texts), ngrams(texts)], axis=1))

    def _views_of(self, genomes: Sequence[Genome]) -> NDArray[np.int64]:
        import numpy as np

        return np.stack([view(view_number(genome), self._hidden, self._bank) for genome in genomes])

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(self, lessons: Sequence[Lesson]) -> list[Genome]:
        """A few steps for each agent, on its lesson and earlier ones; agents that had the same question learn together."""
        genomes = [lesson.ask.genome for lesson in lessons]
        inputs, which = self._inputs([lesson.ask for lesson in lessons])
        groups: dict[tuple[object, ...], list[int]] = {}
        for row, lesson in enumerate(lessons):
            if isinstance(lesson.correct, int) and lesson.ask.choices:
                key = (which[row], lesson.ask.choices, lesson.correct, lesson.score, lesson.rater)
                groups.setdefault(key, []).append(row)
        for rows in groups.values():
            lesson = lessons[rows[0]]
            assert isinstance(lesson.correct, int)
            x = inputs[which[rows[0]]]
            mark = mark_of(x.astype("<f4").tobytes(), lesson.correct, lesson.rater)
            new = Remembered(self._features(x), lesson.correct, lesson.score, lesson.rater, mark)
            kept = self._replay.add(x.size, lesson.ask.choices, new)
            self._notes.append(self._note_of(lesson, x))
            learnt = self._learn_together([genomes[row] for row in rows], lesson.ask.choices, kept, lesson.believed)
            for row, genome in zip(rows, learnt, strict=True):
                genomes[row] = genome
        return genomes

    @property
    def remembered(self) -> int:
        """Lessons that may be learnt again."""
        return len(self._replay)

    def notes(self) -> list[bytes]:
        return drained(self._notes)

    def recall(self, notes: Sequence[bytes]) -> None:
        """Lessons on texts that another embedder read are left out: their vectors mean nothing here."""
        import numpy as np

        for data in notes:
            try:
                note = read_note(data)
            except Malformed:
                continue
            x = np.frombuffer(note.vector, "<f4").astype(np.float32)
            if note.space in ("", self._space()) and bool(np.isfinite(x).all()):
                mark = mark_of(note.vector, note.answer, note.rater)
                self._replay.add(x.size, note.choices, Remembered(self._features(x), note.answer, note.score, note.rater, mark))

    def _note_of(self, lesson: Lesson, x: Floats) -> bytes:
        assert isinstance(lesson.correct, int)
        space = "" if lesson.ask.embedding else self._space()
        return msgspec.msgpack.encode(
            Note(space, x.astype("<f4").tobytes(), lesson.ask.choices, lesson.correct, lesson.score, lesson.rater)
        )

    def _space(self) -> str:
        return self._embedder.name if self._embedder is not None else "none"

    def _learn_together(
        self, genomes: Sequence[Genome], choices: tuple[str, ...], kept: list[Remembered], believed: Believed
    ) -> list[Genome]:
        import numpy as np

        weights: Floats = np.stack([genome.tensors["w"] for genome in genomes])
        signs = signatures(choices, WIDTH)
        start = np.matmul(weights, signs.T)
        gram = signs @ signs.T
        moved = np.zeros_like(start)
        rates = np.array([rate_of(genome) for genome in genomes], np.float32)[:, None, None]
        views = self._views.of(genomes)
        numbers = [view_number(genome) for genome in genomes]
        for _ in range(self._steps):
            batch = [kept[-1], *self._rng.choices(kept, k=self._batch - 1)] if len(kept) > 1 else kept
            features = np.stack([one.features for one in batch])
            seen = features[:, views].transpose(1, 0, 2)  # (agents, batch, hidden)
            logits = np.matmul(seen, start + np.matmul(moved, gram))
            gradient = slopes(np.clip(logits, -MAX_LOGIT, MAX_LOGIT), batch, believed)
            if self._bagging:
                taken = shares(numbers, batch)
                taken[:, 0] = np.maximum(taken[:, 0], 1.0)  # nobody passes over what it is being told
                gradient *= taken[:, :, None]
            moved -= rates * (np.matmul(seen.transpose(0, 2, 1), gradient) + DECAY * moved)
        change = np.matmul(moved, signs)
        lengths = np.sqrt((change**2).sum((1, 2), keepdims=True))
        learnt = weights + change * np.minimum(1.0, MAX_DRIFT / np.maximum(lengths, 1e-12))
        return [
            Genome(genome.brain, {**genome.tensors, "w": own}, genome.settings) if bool(np.isfinite(own).all()) else genome
            for genome, own in zip(genomes, learnt, strict=True)
        ]

    # ---- genomes --------------------------------------------------------------------------------------------------

    def seed(self, rng: random.Random) -> Genome:
        return seeded(self.name, self._hidden, rng)

    def mutate(self, genome: Genome, rng: random.Random) -> Genome:
        return mutated(genome, rng)

    def cross(self, genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
        return crossed(genome, other, rng)

    def schema(self) -> Mapping[str, TensorSpec]:
        return {"w": TensorSpec((self._hidden, WIDTH), "float32")}
