"""Gemma as a brain: all agents of a node share one set of weights and are answered in one batch.

Agents on one model differ by the solved examples they hold and the order they show them in; personas steer instruction-tuned models
only. First form: it does not learn and does not divide, and its decoder computes in float32 on the CPU.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from node.brains.base import REST, Ask, Brain, Capabilities, Choice, Genome, Progress, Proposal
from node.brains.edits import PERSONAS, edited, mixed, reworded
from node.brains.examples import SHOTS, bank_by_id
from node.brains.gemma.machine import available_memory, prepare_jax
from node.brains.gemma.weights import default_cache_dir, locate
from node.runtime import Runtime
from protocol.errors import LocalError, NotAvailable, UserError

if TYPE_CHECKING:
    from node.brains.gemma.config import Config
    from node.brains.gemma.decoder import Decoder
    from node.brains.gemma.prefixes import Prefixes
    from node.brains.gemma.prompts import Prompts
    from node.brains.gemma.scoring import Problem, Scores

CODE_VERSION: Final = 1
"""Part of the fingerprint: raise it with any change to the decoder or the scoring that can change an answer."""
OVERHEAD_BYTES: Final = 450 << 20
"""Interpreter, JAX, the widest pass and the vocabulary."""
PREFIX_BYTES: Final = 384 << 20
"""Keys and values of few-shot prefixes that are kept; 9.4 MB for one of the 270M model."""
SHARE: Final = 2 / 3
"""Of each topic's examples an agent holds this share."""
_PRIORS: Final = 1024
_WARM_ROWS: Final = (1, 2, 4, 8)


class GemmaBrain(Brain):
    """Gemma 3 from a GGUF file: the packaged 270M, or the file given."""

    family = "gemma"

    def __init__(
        self, runtime: Runtime, model: Path | None = None, *, cache_dir: Path | None = None, prefix_bytes: int = PREFIX_BYTES
    ) -> None:
        """`model`: a Gemma 3 `.gguf`; None: the packaged weights. Never fails: `load` says what is wrong."""
        self._runtime = runtime
        self._model = model
        self._cache_dir = cache_dir or default_cache_dir()
        self._prefix_bytes = prefix_bytes
        self._priors: OrderedDict[tuple[Problem, ...], Scores] = OrderedDict()
        self._engine: _Engine | None = None
        self.fingerprint = ""
        label, instruct = ("270m", False) if model is None else _describe(model)
        self.name = f"gemma:{label}"
        kinds = {"choice", "boolean"} | ({"text", "number"} if instruct else set())
        self.capabilities = Capabilities(kinds=frozenset(kinds), instruct=instruct, divides=True, rest=REST)

    def load(self, progress: Progress) -> None:
        path, digest = locate(self._model, self._cache_dir, progress)
        self._engine = _Engine(path, self.capabilities.instruct, self._cache_dir, self._prefix_bytes, progress)
        self._warm_up(progress)
        self.fingerprint = hashlib.sha256(f"gemma {CODE_VERSION} {self._engine.prompts.version} {digest}".encode()).hexdigest()

    @property
    def tokens_read(self) -> int:
        return self._engine.decoder.tokens_read if self._engine is not None else 0

    def _warm_up(self, progress: Progress) -> None:
        """Compile the shapes of everyday questions and answer one, so that the first real question waits for neither."""
        engine = self._ready()
        shapes = [
            *((rows, tokens, 0) for rows in _WARM_ROWS[:2] for tokens in (160, 192)),
            *((rows, 32, 256) for rows in _WARM_ROWS),
            *((rows, 64, 256) for rows in _WARM_ROWS),
        ]
        for index, shape in enumerate(shapes):
            progress("compiling", index / len(shapes))
            engine.decoder.compile(*shape)
        first, *others = bank_by_id().values()
        self.choose([Ask(Genome(self.name), first.question, first.choices, examples=tuple(others[:SHOTS]))])
        self.forget()
        progress("ready", 1.0)

    def choose(self, asks: Sequence[Ask]) -> list[Choice]:
        """Log-probabilities over the choices of each ask, and over the same choices when the question asks nothing.

        The prior is the mean probability over three content-free forms (`node.brains.gemma.prompts`), and uniform where the question
        has none. Raises `InvalidRequest` when a question is too long.
        """
        from node.brains.gemma.scoring import score

        engine = self._ready()
        if any(len(ask.choices) < 2 for ask in asks):
            raise LocalError("choose needs at least two choices")
        problems = [engine.prompts.problem(ask) for ask in asks]
        blanks = [tuple(engine.prompts.content_free(ask)) for ask in asks]
        missing = dict.fromkeys(blank for blank in blanks if blank and blank not in self._priors)
        wanted = list(dict.fromkeys([*problems, *(problem for blank in missing for problem in blank)]))
        scores = dict(zip(wanted, score(engine.decoder, engine.prefixes, wanted), strict=True))
        fresh = {blank: _mean_probability([scores[problem] for problem in blank]) for blank in missing}
        choices = []
        for problem, blank in zip(problems, blanks, strict=True):
            found = scores[problem]
            uniform = [-math.log(len(found))] * len(found)
            prior = uniform if not blank else fresh[blank] if blank in fresh else self._priors[blank]
            choices.append(Choice(tuple(map(float, found)), tuple(map(float, prior)), len(problem.prefix) + problem.size))
        self._remember(fresh)
        return choices

    def _remember(self, priors: dict[tuple[Problem, ...], Scores]) -> None:
        self._priors.update(priors)
        while len(self._priors) > _PRIORS:
            self._priors.popitem(last=False)

    def propose(self, asks: Sequence[Ask], *, max_tokens: int, temperature: float, stop: Sequence[str] = ()) -> list[Proposal]:
        """One text per ask. A genome's own `temperature` (about 1) scales the one asked for, so that agents differ in boldness;
        `Ask.temperature` stands as it is.

        The log-probability is the model's own, at temperature 1. Raises `InvalidRequest` when a prompt is too long.
        """
        from node.brains.gemma.sampling import Ending, Writing, write

        engine = self._ready()
        texts = []
        for ask in asks:
            question = engine.prompts.question(ask, ask.question, ())
            asked = max(0.0, temperature * _boldness(ask.genome)) if ask.temperature is None else ask.temperature
            texts.append(Writing(engine.prompts.prefix(ask), question, asked))
        ends = engine.prompts.ends | {engine.prompts.tokenizer.eos}
        seed = self._runtime.random().getrandbits(31)
        write(engine.decoder, engine.prefixes, engine.prompts.tokenizer, texts, Ending(ends, tuple(stop), max_tokens), seed)
        return [Proposal(text.text, text.logprob, text.prompt_tokens, len(text.tokens)) for text in texts]

    def seed(self, rng: random.Random) -> Genome:
        """Two thirds of each topic's examples in an order of its own, a persona, a boldness."""
        topics: dict[str, list[str]] = {}
        for name, example in bank_by_id().items():
            topics.setdefault(example.topic, []).append(name)
        held = [name for names in topics.values() for name in rng.sample(names, round(len(names) * SHARE))]
        rng.shuffle(held)
        boldness = round(rng.uniform(0.8, 1.2), 3)
        return Genome(self.name, settings={"persona": rng.choice(PERSONAS), "temperature": boldness, "examples": held})

    def mutate(self, genome: Genome, rng: random.Random) -> Genome:
        """A few edits (`node.brains.edits`); a persona reworded by the model itself only where it is instruction-tuned."""
        return edited(genome, rng, self.reword)

    def cross(self, genome: Genome, other: Genome, rng: random.Random) -> Genome | None:
        return mixed(genome, other, rng)

    def reword(self, text: str) -> str | None:
        return reworded(self, text) if self.capabilities.instruct else None

    def forget(self) -> None:
        """Drop all computed prefixes and priors: the next question of each agent is as slow as its first."""
        self._ready().prefixes.clear()
        self._priors.clear()

    def close(self) -> None:
        self._priors.clear()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _ready(self) -> _Engine:
        if self._engine is None:
            raise LocalError(f"{self.name} is asked before it is loaded")
        return self._engine


class _Engine:
    """The loaded model: decoder, tokenizer in its prompts, computed prefixes."""

    decoder: Decoder
    prompts: Prompts
    prefixes: Prefixes

    def __init__(self, path: Path, instruct: bool, cache_dir: Path, prefix_bytes: int, progress: Progress) -> None:
        from node.brains.gemma.config import read_config
        from node.brains.gemma.gguf import GGUF

        self._gguf = GGUF(path)
        try:
            config = read_config(self._gguf)
            _check_memory(config, instruct, prefix_bytes)
            self._build(config, instruct, cache_dir, prefix_bytes, progress)
        except UserError:
            self.close()
            raise

    def _build(self, config: Config, instruct: bool, cache_dir: Path, prefix_bytes: int, progress: Progress) -> None:
        progress("starting jax", 0.0)
        prepare_jax(cache_dir)
        from node.brains.gemma.decoder import Decoder
        from node.brains.gemma.prefixes import Prefixes
        from node.brains.gemma.prompts import FewShot, Turns
        from node.brains.gemma.tokenizer import Tokenizer

        tokenizer = Tokenizer(self._gguf.metadata)
        self._gguf.metadata.clear()  # a vocabulary of a quarter of a million pieces, which the tokenizer now holds
        self.prompts = (Turns if instruct else FewShot)(tokenizer)
        self.decoder = Decoder(config, self._gguf, lambda done: progress("loading the weights", done))
        self.prefixes = Prefixes(self.decoder, prefix_bytes)

    def close(self) -> None:
        self._gguf.close()


def memory_needed(config: Config, instruct: bool, prefix_bytes: int = PREFIX_BYTES) -> int:
    """Bytes that a loaded brain holds at most. A base model that writes text after all needs `config.embedding_bytes` more."""
    return config.layer_bytes + prefix_bytes + OVERHEAD_BYTES + (config.embedding_bytes if instruct else 0)


def _check_memory(config: Config, instruct: bool, prefix_bytes: int) -> None:
    free, need = available_memory(), memory_needed(config, instruct, prefix_bytes)
    if free is not None and free < need:
        raise NotAvailable(
            f"This model needs {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
            "close something, choose a smaller file with --model, or use --brain tiny."
        )


def _describe(model: Path) -> tuple[str, bool]:
    """A short label and whether the model is instruction-tuned, from the file's metadata; from its name where it cannot be read."""
    from node.brains.gemma.gguf import GGUF

    try:
        with GGUF(model) as gguf:
            metadata: dict[str, Any] = gguf.metadata
    except UserError:
        metadata = {}
    size, tuning = (str(metadata.get(f"general.{key}", "")) for key in ("size_label", "finetune"))
    words = set(re.split(r"[^a-z0-9]+", f"{metadata.get('general.name', '')} {tuning} {model.stem}".lower()))
    instruct = bool(words & {"it", "instruct"}) or ("tokenizer.chat_template" in metadata and not words & {"pt", "base"})
    label = size or model.stem.lower().removeprefix("gemma-").removeprefix("3-")
    return re.sub(r"[^a-z0-9._-]+", "-", label.lower())[:40] + ("-it" if instruct and size else ""), instruct


def _boldness(genome: Genome) -> float:
    value = genome.settings.get("temperature", 1.0)
    return float(value) if isinstance(value, int | float) and 0.0 <= value <= 10.0 else 1.0


def _mean_probability(scores: Sequence[Scores]) -> Scores:
    """The log of the mean of probabilities given as logarithms."""
    import numpy as np

    return np.asarray(np.logaddexp.reduce(np.stack(scores)) - math.log(len(scores)))
