"""The hyper-parameters of a Gemma 3 text model, read from GGUF metadata and checked before anything is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from node.brains.gemma.gguf import GGUF
from protocol.errors import NotAvailable

EMBEDDING: Final = "token_embd.weight"
FINAL_NORM: Final = "output_norm.weight"
_MOST_LAYERS: Final = 48
"""The 12B model. The 27B (62 layers) scales its queries differently and does not fit this first form in float32."""
_GLOBAL_EVERY: Final = 6
"""Gemma 3 attends globally in every sixth layer, within a window in the others (Gemma 3 report, section 2)."""


@dataclass(frozen=True, slots=True)
class Config:
    """One Gemma 3 shape. Hashable: it is a static argument of the compiled layer."""

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    window: int
    epsilon: float
    rope_base: float
    """Of the global layers; the local ones use 10,000."""
    rope_scale: float = 1.0
    """Positions of the global layers are divided by this (8 in the models above 1B)."""
    rope_base_local: float = 10_000.0

    def is_global(self, layer: int) -> bool:
        return layer % _GLOBAL_EVERY == _GLOBAL_EVERY - 1

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values per token, float32, all layers."""
        return 2 * 4 * self.layers * self.kv_heads * self.head_dim

    @property
    def layer_bytes(self) -> int:
        """Bytes of all layers in float32."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_dim
        return 4 * self.layers * self.width * (attention + 3 * self.hidden)

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the token embedding in float32."""
        return 4 * self.vocabulary * self.width

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor the file must hold, and no other."""
        width, inner, group = self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer = {
            "attn_norm": (width,), "attn_q": (inner, width), "attn_k": (group, width), "attn_v": (group, width),
            "attn_q_norm": (self.head_dim,), "attn_k_norm": (self.head_dim,), "attn_output": (width, inner),
            "post_attention_norm": (width,), "ffn_norm": (width,), "ffn_gate": (self.hidden, width), "ffn_up": (self.hidden, width),
            "ffn_down": (width, self.hidden), "post_ffw_norm": (width,),
        }  # fmt: skip
        named = {f"blk.{index}.{part}.weight": shape for index in range(self.layers) for part, shape in layer.items()}
        return {EMBEDDING: (self.vocabulary, width), FINAL_NORM: (width,), **named}


class _Fields:
    """Typed, range-checked access to `gemma3.*` metadata."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    def whole(self, key: str, low: int, high: int, usual: int | None = None) -> int:
        value = self._metadata.get(f"gemma3.{key}", usual)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise NotAvailable(
                f"The model file says {key} = {value!r}, which no Gemma 3 model has: choose another .gguf file with --model."
            )
        return value

    def real(self, key: str, low: float, high: float, usual: float) -> float:
        value = self._metadata.get(f"gemma3.{key}", usual)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise NotAvailable(
                f"The model file says {key} = {value!r}, which no Gemma 3 model has: choose another .gguf file with --model."
            )
        return float(value)


def read_config(gguf: GGUF) -> Config:
    """The checked shape of the model in `gguf`.

    Raises `NotAvailable` when it is no Gemma 3 text model, a hyper-parameter is out of range, or a tensor is missing, extra or
    of another shape.
    """
    architecture = gguf.metadata.get("general.architecture")
    if architecture != "gemma3":
        raise NotAvailable(
            f"The model in {gguf.path} is of type {architecture!r}, and this brain runs gemma3: choose a Gemma 3 .gguf file with --model."
        )
    fields = _Fields(gguf.metadata)
    heads = fields.whole("attention.head_count", 1, 256)
    head_dim = fields.whole("attention.key_length", 2, 1024)
    kv_heads = fields.whole("attention.head_count_kv", 1, heads)
    fields.whole("attention.value_length", head_dim, head_dim, head_dim)
    if heads % kv_heads or head_dim % 2:
        raise NotAvailable("The model file's attention heads do not divide evenly: choose another .gguf file with --model.")
    embedding = gguf.tensors.get(EMBEDDING)
    config = Config(
        width=fields.whole("embedding_length", 1, 1 << 16),
        hidden=fields.whole("feed_forward_length", 1, 1 << 18),
        layers=fields.whole("block_count", 1, _MOST_LAYERS),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=embedding.shape[0] if embedding else 0,
        context=fields.whole("context_length", 16, 1 << 24),
        window=fields.whole("attention.sliding_window", 1, 1 << 24),
        epsilon=fields.real("attention.layer_norm_rms_epsilon", 0.0, 1.0, 1e-6),
        rope_base=fields.real("rope.freq_base", 1.0, 1e9, 1e6),
        rope_scale=fields.real("rope.scaling.factor", 1.0, 1024.0, 1.0),
    )
    _check_tensors(gguf, config)
    return config


def _check_tensors(gguf: GGUF, config: Config) -> None:
    expected = config.shapes()
    if odd := sorted(expected.keys() ^ gguf.tensors.keys()):
        raise NotAvailable(
            f"The model in {gguf.path} has missing or extra tensors (first: {odd[0]}): choose a plain Gemma 3 .gguf file with --model."
        )
    for name, shape in expected.items():
        if gguf.tensors[name].shape != shape:
            raise NotAvailable(
                f"Tensor {name} in {gguf.path} has shape {gguf.tensors[name].shape}, not {shape}: choose another file with --model."
            )
    if len(gguf.metadata.get("tokenizer.ggml.tokens", ())) > config.vocabulary:
        raise NotAvailable(f"The model in {gguf.path} has fewer embeddings than vocabulary entries: choose another file with --model.")
