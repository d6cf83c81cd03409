"""How ggml stores weights, and how they become float32 again.

Quantised types hold weights in blocks, each with a scale of its own. Layouts: ggml's `ggml-common.h` and `ggml-quants.c`. Every decoder
takes blocks as rows of bytes, (blocks, bytes of a block), and returns their weights in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def _half(block: Bytes) -> Floats:
    """Little-endian float16 in the last axis (2 bytes each) -> float32."""
    return np.ascontiguousarray(block).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Low halves of all bytes, then their high halves, along the last axis."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _f32(block: Bytes) -> Floats:
    return block.view("<f4").astype(np.float32)


def _bf16(block: Bytes) -> Floats:
    values: Floats = (block.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values


def _q8_0(block: Bytes) -> Floats:
    return _half(block[:, :2]) * block[:, 2:].view(np.int8)


def _q4_0(block: Bytes) -> Floats:
    return _half(block[:, :2]) * (_nibbles(block[:, 2:]).view(np.int8) - np.int8(8))


def _q5_0(block: Bytes) -> Floats:
    fifth = np.unpackbits(block[:, 2:6], axis=1, bitorder="little") << 4
    return _half(block[:, :2]) * ((_nibbles(block[:, 6:]) | fifth).view(np.int8) - np.int8(16))


def _q4_k(block: Bytes) -> Floats:
    """256 weights: two half scales, eight 6-bit scales and eight 6-bit minima packed in 12 bytes, 128 bytes of nibbles."""
    packed = block[:, 4:16]
    low, high, mixed = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scale = np.concatenate([low & 63, (mixed & 15) | (low >> 6) << 4], axis=1)
    minimum = np.concatenate([high & 63, (mixed >> 4) | (high >> 6) << 4], axis=1)
    quants = _nibbles(block[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    scaled = _half(block[:, 0:2]) * scale
    offset = _half(block[:, 2:4]) * minimum
    weights: Floats = scaled[..., None] * quants - offset[..., None]
    return weights


def _q6_k(block: Bytes) -> Floats:
    """256 weights: 128 bytes of low nibbles, 64 bytes of upper bit pairs, sixteen int8 scales, one half scale."""
    low = _nibbles(block[:, :128].reshape(-1, 2, 64))
    pairs = block[:, 128:192].reshape(-1, 2, 32)
    high = np.concatenate([(pairs >> shift) & 3 for shift in (0, 2, 4, 6)], axis=-1)
    quants = ((low | high << 4).view(np.int8) - np.int8(32)).reshape(-1, 16, 16)
    scale = _half(block[:, 208:210]) * block[:, 192:208].view(np.int8)
    return scale[..., None] * quants


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one ggml tensor type stores weights: `elements` weights in `size` bytes."""

    name: str
    elements: int
    size: int
    decode: Callable[[Bytes], Floats]


ENCODINGS: Final[Mapping[int, Encoding]] = {
    0: Encoding("F32", 1, 4, _f32),
    1: Encoding("F16", 1, 2, _half),
    2: Encoding("Q4_0", 32, 18, _q4_0),
    6: Encoding("Q5_0", 32, 22, _q5_0),
    8: Encoding("Q8_0", 32, 34, _q8_0),
    12: Encoding("Q4_K", 256, 144, _q4_k),
    14: Encoding("Q6_K", 256, 210, _q6_k),
    30: Encoding("BF16", 1, 2, _bf16),
}
"""By ggml type number."""
