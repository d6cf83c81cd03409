"""Writing text: a batch of prompts, one token each a step, over a cache that is updated in place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from node.brains.gemma.decoder import CAPACITIES, MAX_PAST, Decoder, Past
from node.brains.gemma.layer import step_layer
from node.brains.gemma.prefixes import Prefixes, Tokens
from node.brains.gemma.tokenizer import Tokenizer
from protocol.errors import InvalidRequest

_MAX_ROWS: Final = 32
_CACHE_BYTES: Final = 256 << 20
"""Keys and values of one batch; a larger one is decoded in parts."""


@dataclass(slots=True)
class Writing:
    """One text being written: its prompt, its sampling temperature (0: always the likeliest token) and what there is so far."""

    prefix: Tokens
    question: Tokens
    temperature: float
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    text: str = ""
    done: bool = False

    @property
    def prompt_tokens(self) -> int:
        return len(self.prefix) + len(self.question)


@dataclass(frozen=True, slots=True)
class Ending:
    """When a text ends: at a token, before a string, or after so many tokens."""

    tokens: Collection[int]
    strings: Sequence[str]
    max_tokens: int


@partial(jax.jit)
def _sample(hidden: Array, matrix: Array, temperatures: Array, key: Array) -> tuple[Array, Array]:
    """One token a row and its log-probability at temperature 1; hidden (B, D), matrix (V, D), temperatures (B,)."""
    logits = jnp.einsum("bd,vd->bv", hidden, matrix)
    noise = jax.random.gumbel(key, logits.shape)
    token = jnp.argmax(logits + temperatures[:, None] * noise, -1)
    logprob = jnp.take_along_axis(logits, token[:, None], 1)[:, 0] - jax.nn.logsumexp(logits, -1)
    return token, logprob


def write(decoder: Decoder, prefixes: Prefixes, tokenizer: Tokenizer, texts: Sequence[Writing], ending: Ending, seed: int) -> None:
    """Write all `texts` to their ends.

    Raises `InvalidRequest` when a prompt and `max_tokens` exceed the decoder's longest context.
    """
    room = MAX_PAST - ending.max_tokens
    if longest := max((text.prompt_tokens for text in texts if text.prompt_tokens > room), default=0):
        raise InvalidRequest(f"The prompt is {longest} tokens long and there is room for {max(room, 0)}: shorten it or ask for less text.")
    longest = max((text.prompt_tokens for text in texts), default=0)
    capacity = next(size for size in CAPACITIES if longest + ending.max_tokens <= size)
    rows = max(1, min(_MAX_ROWS, _CACHE_BYTES // (capacity * decoder.config.kv_bytes)))
    waiting = iter(texts)
    key = jax.random.key(seed)
    while batch := list(islice(waiting, rows)):
        key, mine = jax.random.split(key)
        _Batch(decoder, tokenizer, batch, ending, _read(decoder, prefixes, batch), capacity).run(mine)


def _read(decoder: Decoder, prefixes: Prefixes, batch: Sequence[Writing]) -> list[Past]:
    """The prompts as pasts, all but their last token."""
    held = prefixes.get(text.prefix for text in batch)
    return decoder.extend([held[text.prefix] for text in batch], [text.question[:-1] for text in batch])


def _padded(part: Array, capacity: int) -> Array:
    """Keys or values of one row, (S, K, H), with room for `capacity` slots."""
    return jnp.pad(part, ((0, capacity - part.shape[0]), (0, 0), (0, 0)))


class _Batch:
    """Some texts with a common cache (layers of (B, S, K, H)), padded to a power of two of rows."""

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, texts: Sequence[Writing], ending: Ending, pasts: Sequence[Past], capacity: int
    ) -> None:
        self._decoder, self._tokenizer, self._texts, self._ending = decoder, tokenizer, texts, ending
        self._rows = 1 << (len(texts) - 1).bit_length()
        padded = [*pasts, *[pasts[0]] * (self._rows - len(pasts))]
        self._positions = np.array([past.length for past in padded], np.int32)
        self._keys, self._values = (
            [jnp.stack([_padded(past.layers[layer][part], capacity) for past in padded]) for layer in range(decoder.config.layers)]
            for part in (0, 1)
        )

    def run(self, key: Array) -> None:
        tokens = np.zeros(self._rows, np.int32)
        temperatures = np.zeros(self._rows, np.float32)
        for row, text in enumerate(self._texts):
            tokens[row], temperatures[row] = text.question[-1], text.temperature
        matrix = self._decoder.output_matrix
        for step in range(self._ending.max_tokens):
            hidden = self._decoder.final_norm(np.asarray(self._step(tokens))[:, 0])
            sampled, logprobs = _sample(hidden, matrix, temperatures, jax.random.fold_in(key, step))
            tokens = np.asarray(sampled, np.int32)
            for row, text in enumerate(self._texts):
                if not text.done:
                    self._add(text, int(tokens[row]), float(logprobs[row]))
            if all(text.done for text in self._texts):
                return

    def _step(self, tokens: np.ndarray[Any, np.dtype[np.int32]]) -> Array:
        decoder = self._decoder
        x: Any = decoder.embed(tokens[:, None])
        for layer, (weights, to) in enumerate(decoder.weights):
            x, self._keys[layer], self._values[layer] = step_layer(
                decoder.config, weights, to, x, self._positions, self._keys[layer], self._values[layer]
            )
        self._positions = self._positions + 1
        return x

    def _add(self, text: Writing, token: int, logprob: float) -> None:
        text.tokens.append(token)
        text.logprob += logprob
        if token in self._ending.tokens:
            text.done = True
            return
        text.text = self._tokenizer.decode(text.tokens)
        cuts = [at for string in self._ending.strings if (at := text.text.find(string)) >= 0]
        if cuts:
            text.text = text.text[: min(cuts)]
        text.done = bool(cuts) or len(text.tokens) >= self._ending.max_tokens
