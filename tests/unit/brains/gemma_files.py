"""GGUF files made for tests: a writer, and a random Gemma 3 of a few kilobytes with a vocabulary that can spell any text."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = 0
ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it lies in a file: shape in numpy order, ggml type, bytes."""

    shape: tuple[int, ...]
    kind: int
    data: bytes


def stored(values: NDArray[np.float32]) -> Stored:
    return Stored(values.shape, F32, values.astype("<f4").tobytes())


def gguf_bytes(metadata: Mapping[str, Any], tensors: Mapping[str, Stored], version: int = 3) -> bytes:
    """A whole GGUF file."""
    head, data = _header(metadata, tensors, version), bytearray()
    for tensor in tensors.values():
        data += tensor.data + bytes(-len(tensor.data) % ALIGNMENT)
    return head + bytes(-len(head) % ALIGNMENT) + bytes(data)


def _header(metadata: Mapping[str, Any], tensors: Mapping[str, Stored], version: int) -> bytes:
    out = bytearray(struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(metadata)))
    for key, value in metadata.items():
        out += _text(key.encode()) + _value(value)
    offset = 0
    for name, tensor in tensors.items():
        out += _text(name.encode()) + struct.pack("<I", len(tensor.shape))
        out += struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape)) + struct.pack("<IQ", tensor.kind, offset)
        offset += len(tensor.data) + -len(tensor.data) % ALIGNMENT
    return bytes(out)


def header_length(metadata: Mapping[str, Any], tensors: Mapping[str, Stored]) -> int:
    return len(_header(metadata, tensors, 3))


def _text(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value.encode())
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", 9, {"<f4": 6, "<i4": 5}[value.dtype.str], len(value)) + value.tobytes()
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(piece) for piece in value)


def vocabulary() -> tuple[list[bytes], list[int]]:
    """Pieces and types: specials, turn markers, line breaks, some words, the 256 bytes, letters."""
    pieces = [b"<pad>", b"<eos>", b"<bos>", b"<unk>", b"<start_of_turn>", b"<end_of_turn>", b"\n", b"\n\n"]
    kinds = [3, 3, 3, 2, 3, 3, 4, 4]
    space = "▁".encode()
    words = [space + word for word in (b"yes", b"no", b"not", b"spam", b"good", b"bad")]
    letters = [bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?:\".,'<>_"]
    # Byte-pair encoding needs the intermediate pieces that lead to a word.
    steps = [word[:end] for word in words for end in range(len(space) + 1, len(word))]
    steps += [b"no", b"ot", b"sp", b"am", b"ye", b"es", b"go", b"od", b"ba", b"ad"]
    ordinary = list(dict.fromkeys([*words, *steps, space, *letters]))
    raw = [f"<0x{value:02X}>".encode() for value in range(256)]
    return [*pieces, *ordinary, *raw], [*kinds, *[1] * len(ordinary), *[6] * 256]


@dataclass(frozen=True, slots=True)
class TinyGemma:
    """The shape of a test model: seven layers, so that one of them attends globally, and a window shorter than the prompts."""

    width: int = 16
    hidden: int = 24
    layers: int = 7
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    window: int = 12
    seed: int = 1

    def metadata(self, **changes: Any) -> dict[str, Any]:
        pieces, kinds = vocabulary()
        scores = np.array([-float(index) for index in range(len(pieces))], "<f4")
        values = {
            "general.architecture": "gemma3",
            "general.name": "Tiny",
            "gemma3.context_length": 4096,
            "gemma3.embedding_length": self.width,
            "gemma3.block_count": self.layers,
            "gemma3.feed_forward_length": self.hidden,
            "gemma3.attention.head_count": self.heads,
            "gemma3.attention.head_count_kv": self.kv_heads,
            "gemma3.attention.key_length": self.head_dim,
            "gemma3.attention.value_length": self.head_dim,
            "gemma3.attention.sliding_window": self.window,
            "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
            "gemma3.rope.freq_base": 1e6,
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": pieces,
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.token_type": np.array(kinds, "<i4"),
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.eos_token_id": 1,
            "tokenizer.ggml.unknown_token_id": 3,
            "tokenizer.ggml.padding_token_id": 0,
        }
        values.update({key.replace("__", "."): value for key, value in changes.items()})
        return {key: value for key, value in values.items() if value is not None}

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Random, with norms about 1 and an embedding loud enough that answers differ clearly."""
        random = np.random.default_rng(self.seed)
        inner, group, width = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.width

        def matrix(*shape: int, scale: float = 0.4) -> NDArray[np.float32]:
            return (random.standard_normal(shape) * scale).astype(np.float32)

        def norm(size: int) -> NDArray[np.float32]:
            return (1 + random.standard_normal(size) * 0.2).astype(np.float32)

        found = {"token_embd.weight": matrix(len(vocabulary()[0]), width, scale=1.0), "output_norm.weight": norm(width)}
        for index in range(self.layers):
            layer = {
                "attn_norm": norm(width), "attn_q": matrix(inner, width), "attn_k": matrix(group, width), "attn_v": matrix(group, width),
                "attn_q_norm": norm(self.head_dim), "attn_k_norm": norm(self.head_dim), "attn_output": matrix(width, inner),
                "post_attention_norm": norm(width), "ffn_norm": norm(width), "ffn_gate": matrix(self.hidden, width),
                "ffn_up": matrix(self.hidden, width), "ffn_down": matrix(width, self.hidden), "post_ffw_norm": norm(width),
            }  # fmt: skip
            found |= {f"blk.{index}.{name}.weight": value for name, value in layer.items()}
        return found

    def write(self, path: Path, **changes: Any) -> Path:
        tensors = {name: stored(value) for name, value in self.weights().items()}
        path.write_bytes(gguf_bytes(self.metadata(**changes), tensors))
        return path


def reference_logits(shape: TinyGemma, tokens: Sequence[int]) -> NDArray[np.float64]:
    """Logits after every token, (tokens, vocabulary), in plain float64 numpy: one token, one head at a time, nothing cached.

    Written from the Gemma 3 report and independent of the code under test.
    """
    weights = {name: value.astype(np.float64) for name, value in shape.weights().items()}
    x = weights["token_embd.weight"][list(tokens)] * shape.width**0.5
    for index in range(shape.layers):
        x = _reference_layer(
            shape, {name.split(".")[2]: value for name, value in weights.items() if name.startswith(f"blk.{index}.")}, x, index
        )
    return _rms(x, weights["output_norm.weight"]) @ weights["token_embd.weight"].T


def _rms(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight)


def _rope(vector: NDArray[np.float64], position: int, base: float) -> NDArray[np.float64]:
    out = vector.copy()
    half = len(vector) // 2
    for i in range(half):
        angle = position / base ** (2 * i / len(vector))
        out[i] = vector[i] * np.cos(angle) - vector[i + half] * np.sin(angle)
        out[i + half] = vector[i + half] * np.cos(angle) + vector[i] * np.sin(angle)
    return out


def _reference_layer(shape: TinyGemma, w: dict[str, NDArray[np.float64]], x: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    whole = index % 6 == 5
    base, reach = (1e6, len(x)) if whole else (1e4, shape.window)
    size, share = shape.head_dim, shape.heads // shape.kv_heads
    h = _rms(x, w["attn_norm"])
    mixed = np.zeros((len(x), shape.heads * size))
    for head in range(shape.heads):
        group = head // share
        q = _rms((h @ w["attn_q"].T)[:, head * size : (head + 1) * size], w["attn_q_norm"])
        k = _rms((h @ w["attn_k"].T)[:, group * size : (group + 1) * size], w["attn_k_norm"])
        v = (h @ w["attn_v"].T)[:, group * size : (group + 1) * size]
        q, k = (np.stack([_rope(row, at, base) for at, row in enumerate(part)]) for part in (q, k))
        for at in range(len(x)):
            first = max(0, at - reach + 1)
            scores = k[first : at + 1] @ q[at] / np.sqrt(size)
            shares = np.exp(scores - scores.max())
            mixed[at, head * size : (head + 1) * size] = shares @ v[first : at + 1] / shares.sum()
    x = x + _rms(mixed @ w["attn_output"].T, w["post_attention_norm"])
    h = _rms(x, w["ffn_norm"])
    gate = h @ w["ffn_gate"].T
    gelu = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    return np.asarray(x + _rms((gelu * (h @ w["ffn_up"].T)) @ w["ffn_down"].T, w["post_ffw_norm"]))
