"""The batched decoder: rows of new tokens over cached pasts, in a few fixed shapes.

    Row   some new tokens over an optional `Past`; a tree mask says which of them see which, so that one row can hold several
          questions to one agent, and several answers to one question, each blind to the others
    Past  the keys and values of a prefix (an agent's few-shot examples), computed once and shared by every row that starts with it

Passes are padded to few shapes (`TOKENS`, `CAPACITIES`, powers of two of rows) and each shape is compiled once, so nothing is
compiled after warm-up except for prompts of unusual length. About 1,300 tokens/s on two AVX-512 cores at any batch above 64
tokens, so padding is what the shapes are chosen to avoid.

The token embedding is the largest tensor (63% of the 270M model) and scoring a few candidates needs few of its rows, so it stays
quantised in the mapped file, where several daemons share its pages; `Decoder.output_matrix` makes the float32 copy that writing
text needs, when text is first written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from node.brains.gemma.config import EMBEDDING, FINAL_NORM, Config
from node.brains.gemma.gguf import GGUF
from node.brains.gemma.layer import KeyValue, LayerWeights, Reach, reach, run_layer
from node.brains.gemma.quants import Floats

TOKENS: Final = (32, 64, 96, 128, 160, 192, 256, 384, 512)
"""Row lengths a pass is padded to."""
CAPACITIES: Final = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Slots of a past."""
MAX_ROW: Final = TOKENS[-1]
MAX_PAST: Final = CAPACITIES[-1]
_MAX_ROWS: Final = 8
_VOCABULARY_SLICE: Final = 8192
_STATES_AT_ONCE: Final = 256
_ALIGNMENT: Final = 64


def _bucket(size: int, sizes: Sequence[int]) -> int:
    return next(bucket for bucket in sizes if size <= bucket)


def _aligned(shape: tuple[int, ...]) -> Floats:
    """An uninitialised array at an address that JAX on a CPU adopts without copying."""
    size = int(np.prod(shape)) * 4
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(np.float32).reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Keys and values of `length` tokens, per layer, padded to a capacity."""

    layers: tuple[KeyValue, ...]
    length: int

    @property
    def capacity(self) -> int:
        return int(self.layers[0][0].shape[0])

    @property
    def nbytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """New tokens over `past`. `depths` are positions counted from the end of the past; `tree[i, j]`: token i sees token j."""

    past: Past | None
    tokens: Sequence[int]
    depths: Sequence[int]
    tree: NDArray[np.bool_]

    @classmethod
    def chain(cls, past: Past | None, tokens: Sequence[int]) -> Row:
        """Plain text: every token sees those before it."""
        return cls(past, tokens, range(len(tokens)), np.tri(len(tokens), dtype=np.bool_))

    @property
    def shape(self) -> tuple[int, int]:
        """(past capacity or 0, padded tokens): rows of one shape can share a pass."""
        return self.past.capacity if self.past else 0, _bucket(len(self.tokens), TOKENS)


@dataclass(frozen=True, slots=True)
class _Pass:
    """The result of one pass: hidden states (B, T, D) after the last layer, and keys and values (B, T, K, H) of each layer."""

    hidden: Floats
    layers: list[tuple[Array, Array]]


class Decoder:
    """A loaded model. Blocking, single-threaded."""

    def __init__(self, config: Config, gguf: GGUF, progress: Callable[[float], None] = lambda _: None) -> None:
        self.config = config
        self._gguf = gguf
        self.tokens_read = 0
        """Tokens of all passes so far, padding left out."""
        self._final_norm = gguf.read(FINAL_NORM)
        self.weights: list[tuple[LayerWeights, Reach]] = []
        for index in range(config.layers):
            self.weights.append((self._load_layer(index), reach(config, index)))
            progress((index + 1) / config.layers)

    def _load_layer(self, index: int) -> LayerWeights:
        def load(*names: str) -> Array:
            """Stack the tensors along their first axis, dequantised in place."""
            full = [f"blk.{index}.{name}.weight" for name in names]
            shapes = [self._gguf.tensors[name].shape for name in full]
            out = _aligned((sum(shape[0] for shape in shapes), *shapes[0][1:]))
            start = 0
            for name, shape in zip(full, shapes, strict=True):
                self._gguf.read(name, out[start : start + shape[0]])
                start += shape[0]
            return jax.device_put(out)

        return LayerWeights(
            attention_norm=load("attn_norm"),
            query_key_value=load("attn_q", "attn_k", "attn_v"),
            query_norm=load("attn_q_norm"),
            key_norm=load("attn_k_norm"),
            attention_output=load("attn_output"),
            post_attention_norm=load("post_attention_norm"),
            feed_forward_norm=load("ffn_norm"),
            gate_up=load("ffn_gate", "ffn_up"),
            down=load("ffn_down"),
            post_feed_forward_norm=load("post_ffw_norm"),
        )

    def past_bytes(self, length: int) -> int:
        """What a past of `length` tokens takes."""
        return _bucket(length, CAPACITIES) * self.config.kv_bytes

    # ---- embeddings

    def embed(self, tokens: NDArray[np.int32]) -> Floats:
        """Input vectors (..., D): embedding rows times sqrt(D)."""
        unique, where = np.unique(tokens, return_inverse=True)
        rows = self._gguf.read_rows(EMBEDDING, unique) * np.float32(self.config.width**0.5)
        return np.asarray(rows[where.reshape(tokens.shape)], np.float32)

    def logits(self, hidden: Floats, tokens: NDArray[np.int32]) -> Floats:
        """Logit of token tokens[i] after hidden state hidden[i] (normed); shapes (R, D), (R,) -> (R,)."""
        unique, where = np.unique(tokens, return_inverse=True)
        rows = self._gguf.read_rows(EMBEDDING, unique)[where]
        return np.asarray(np.einsum("rd,rd->r", hidden, rows), np.float32)

    def normalisers(self, hidden: Floats) -> NDArray[np.float64]:
        """Log of the summed exponentials over the whole vocabulary, (R, D) -> (R,), a slice of the vocabulary at a time."""
        total = np.full(len(hidden), -np.inf)
        for start in range(0, self.config.vocabulary, _VOCABULARY_SLICE):
            matrix = self._gguf.read_rows(EMBEDDING, slice(start, start + _VOCABULARY_SLICE)).T
            for first in range(0, len(hidden), _STATES_AT_ONCE):
                some = slice(first, first + _STATES_AT_ONCE)
                part = hidden[some] @ matrix
                peak = part.max(1, keepdims=True)
                total[some] = np.logaddexp(total[some], np.log(np.exp(part - peak).sum(1)) + peak[:, 0])
        return total

    @cached_property
    def output_matrix(self) -> Array:
        """The float32 embedding (V, D); 671 MB for the 270M model, made at first use."""
        return jax.device_put(self._gguf.read(EMBEDDING, _aligned((self.config.vocabulary, self.config.width))))

    def final_norm(self, hidden: Floats) -> Floats:
        scale = 1.0 / np.sqrt(np.mean(hidden * hidden, -1, keepdims=True) + self.config.epsilon)
        return np.asarray(hidden * scale * self._final_norm, np.float32)

    # ---- passes

    def hidden(self, rows: Sequence[Row]) -> list[Floats]:
        """Normed hidden states of every row, each (tokens of the row, D)."""
        found: list[Floats] = [np.empty(0, np.float32)] * len(rows)
        for indices, result in self._passes(rows):
            for place, index in enumerate(indices):
                found[index] = self.final_norm(result.hidden[place, : len(rows[index].tokens)])
        return found

    def extend(self, pasts: Sequence[Past | None], texts: Sequence[Sequence[int]]) -> list[Past]:
        """Read plain tokens into each past (None: none yet, then the text must not be empty); all texts side by side."""
        grown = list(pasts)
        for start in range(0, max(map(len, texts), default=0), MAX_ROW):
            busy = [index for index, text in enumerate(texts) if len(text) > start]
            rows = [Row.chain(grown[index], texts[index][start : start + MAX_ROW]) for index in busy]
            for indices, result in self._passes(rows):
                for place, at in enumerate(indices):
                    grown[busy[at]] = self._append(rows[at], [(keys[place], values[place]) for keys, values in result.layers])
        return [past for past in grown if past is not None]

    def _append(self, row: Row, new: list[KeyValue]) -> Past:
        """A past of `row`'s past and its tokens."""
        old, count = row.past, len(row.tokens)
        before = old.length if old else 0
        capacity = _bucket(before + count, CAPACITIES)

        def join(old_part: Array | None, new_part: Array) -> Array:
            out = _aligned((capacity, self.config.kv_heads, self.config.head_dim))
            if old_part is not None:
                out[:before] = np.asarray(old_part)[:before]
            out[before : before + count] = np.asarray(new_part)[:count]
            out[before + count :] = 0.0
            return jax.device_put(out)

        olds = old.layers if old else [(None, None)] * self.config.layers
        layers = tuple((join(k, new_k), join(v, new_v)) for (k, v), (new_k, new_v) in zip(olds, new, strict=True))
        return Past(layers, before + count)

    def _passes(self, rows: Sequence[Row]) -> Iterator[tuple[list[int], _Pass]]:
        """Run all rows, like shapes together; each result with the indices of its rows."""
        order = sorted(range(len(rows)), key=lambda index: rows[index].shape)
        for (_, tokens), group in groupby(order, key=lambda index: rows[index].shape):
            waiting = list(group)
            while waiting:
                size = _batch(len(waiting), tokens)
                indices, waiting = waiting[:size], waiting[size:]
                yield indices, self._run([rows[index] for index in indices], size, tokens)

    def _run(self, rows: Sequence[Row], size: int, length: int) -> _Pass:
        """One pass of `size` rows (the first one again where there are fewer) of `length` tokens."""
        self.tokens_read += sum(len(row.tokens) for row in rows)
        rows = [*rows, *[rows[0]] * (size - len(rows))]
        tokens = np.zeros((size, length), np.int32)
        positions = np.zeros((size, length), np.int32)
        tree = np.zeros((size, length, length), np.bool_)
        before = np.array([row.past.length if row.past else 0 for row in rows], np.int32)
        for index, row in enumerate(rows):
            count = len(row.tokens)
            tokens[index, :count] = row.tokens
            positions[index, :count] = before[index] + np.asarray(row.depths)
            tree[index, :count, :count] = row.tree
        x: Any = self.embed(tokens)
        layers = []
        for index, (weights, to) in enumerate(self.weights):
            past = tuple(row.past.layers[index] for row in rows if row.past)
            x, keys, values = run_layer(self.config, weights, to, x, positions, tree, past, before)
            layers.append((keys, values))
        return _Pass(np.asarray(x), layers)

    def compile(self, size: int, length: int, capacity: int) -> None:
        """Compile one shape ahead of use by running one layer on nothing."""
        config = self.config
        slot = jnp.zeros((capacity, config.kv_heads, config.head_dim), jnp.float32)
        past = ((slot, slot),) * size if capacity else ()
        zeros = np.zeros((size, length), np.int32)
        x = np.zeros((size, length, config.width), np.float32)
        tree = np.zeros((size, length, length), np.bool_)
        run_layer(config, *self.weights[0], x, zeros, tree, past, np.zeros(size, np.int32))[0].block_until_ready()


def _batch(waiting: int, length: int) -> int:
    """Rows of the next pass: a power of two, at most `_MAX_ROWS` and `MAX_ROW` tokens in all, at most a quarter of it padding."""
    size = 1
    while size < waiting and size < _MAX_ROWS and 2 * size * length <= MAX_ROW:
        size *= 2
    return size if waiting >= 0.75 * size else size // 2
