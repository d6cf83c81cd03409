"""The GGUF reader: every weight type against ggml's own loops, and files that lie."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.brains.gemma.config import read_config
from node.brains.gemma.gguf import GGUF
from node.brains.gemma.quants import ENCODINGS
from protocol.errors import InvalidRequest, NotAvailable
from tests.unit.brains.gemma_files import Stored, TinyGemma, gguf_bytes, header_length, stored

METADATA = {
    "general.architecture": "gemma3",
    "some.flag": True,
    "some.number": 7,
    "some.real": 0.5,
    "some.list": np.arange(3, dtype="<i4"),
    "some.words": [b"a", b"bc", b""],
}
TENSORS = {"one": stored(np.arange(6, dtype=np.float32).reshape(2, 3)), "two": Stored((1, 32), 8, bytes(34))}


def half(block: bytes, at: int) -> float:
    return float(struct.unpack_from("<e", block, at)[0])


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def q8_0(b: bytes) -> list[float]:
    return [half(b, 0) * signed(q) for q in b[2:]]


def q4_0(b: bytes) -> list[float]:
    out = [0.0] * 32
    for j in range(16):
        out[j] = half(b, 0) * ((b[2 + j] & 0xF) - 8)
        out[j + 16] = half(b, 0) * ((b[2 + j] >> 4) - 8)
    return out


def q5_0(b: bytes) -> list[float]:
    (high,) = struct.unpack_from("<I", b, 2)
    out = [0.0] * 32
    for j in range(16):
        first = ((high >> j) << 4) & 0x10
        second = (high >> (j + 12)) & 0x10
        out[j] = half(b, 0) * (((b[6 + j] & 0xF) | first) - 16)
        out[j + 16] = half(b, 0) * (((b[6 + j] >> 4) | second) - 16)
    return out


def scale_min(j: int, q: bytes) -> tuple[int, int]:
    if j < 4:
        return q[j] & 63, q[j + 4] & 63
    return (q[j + 4] & 0xF) | ((q[j - 4] >> 6) << 4), (q[j + 4] >> 4) | ((q[j] >> 6) << 4)


def q4_k(b: bytes) -> list[float]:
    out = []
    for group in range(4):
        q = b[16 + 32 * group : 48 + 32 * group]
        for part in (0, 1):
            scale, minimum = scale_min(2 * group + part, b[4:16])
            out += [half(b, 0) * scale * ((x >> 4 * part) & 0xF) - half(b, 2) * minimum for x in q]
    return out


def q6_k(b: bytes) -> list[float]:
    out = [0.0] * 256
    for n in (0, 1):
        ql, qh, sc = b[64 * n : 64 * n + 64], b[128 + 32 * n : 160 + 32 * n], b[192 + 8 * n : 200 + 8 * n]
        for lane in range(32):
            values = (
                (ql[lane] & 0xF) | ((qh[lane] & 3) << 4),
                (ql[lane + 32] & 0xF) | (((qh[lane] >> 2) & 3) << 4),
                (ql[lane] >> 4) | (((qh[lane] >> 4) & 3) << 4),
                (ql[lane + 32] >> 4) | (((qh[lane] >> 6) & 3) << 4),
            )
            for part, value in enumerate(values):
                out[128 * n + 32 * part + lane] = half(b, 208) * signed(sc[lane // 16 + 2 * part]) * (value - 32)
    return out


REFERENCES: dict[str, Callable[[bytes], list[float]]] = {
    "F32": lambda b: [struct.unpack("<f", b)[0]],
    "F16": lambda b: [half(b, 0)],
    "BF16": lambda b: [struct.unpack("<f", b"\0\0" + b)[0]],
    "Q8_0": q8_0,
    "Q4_0": q4_0,
    "Q5_0": q5_0,
    "Q4_K": q4_k,
    "Q6_K": q6_k,
}
SCALES = {"Q8_0": (0,), "Q4_0": (0,), "Q5_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,)}


def blocks_of(name: str, size: int, count: int) -> list[bytes]:
    """Random blocks whose scales, where they have some, are sound numbers."""
    random = np.random.default_rng(7)
    found = []
    for _ in range(count):
        block = bytearray(random.integers(0, 256, size, np.uint8).tobytes())
        for at in SCALES.get(name, ()):
            struct.pack_into("<e", block, at, float(random.standard_normal()))
        if name in ("F32", "F16", "BF16"):
            block[-1] &= 0b10111011  # no infinities
        found.append(bytes(block))
    return found


@pytest.mark.parametrize("kind", sorted(ENCODINGS))
def test_every_weight_type_reads_as_ggml_writes_it(tmp_path: Path, kind: int) -> None:
    encoding = ENCODINGS[kind]
    blocks = blocks_of(encoding.name, encoding.size, 6)
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(METADATA, {"w": Stored((3, 2 * encoding.elements), kind, b"".join(blocks))}))
    expected = np.array([value for block in blocks for value in REFERENCES[encoding.name](block)]).reshape(3, -1)
    with GGUF(path) as gguf:
        np.testing.assert_allclose(gguf.read("w"), expected, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(gguf.read_rows("w", [2, 0]), expected[[2, 0]], rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(gguf.read_rows("w", slice(1, 9)), expected[1:], rtol=1e-6, atol=1e-30)


def test_metadata_and_tensors_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(METADATA, TENSORS, version=2))
    with GGUF(path) as gguf:
        assert {key: value for key, value in gguf.metadata.items() if key != "some.list"} == {
            key: value for key, value in METADATA.items() if key != "some.list"
        }
        assert gguf.metadata["some.list"].tolist() == [0, 1, 2]
        assert gguf.read("one").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_file_cut_anywhere_in_its_header_is_refused(tmp_path: Path) -> None:
    whole = gguf_bytes(METADATA, TENSORS)
    path = tmp_path / "model.gguf"
    for length in range(header_length(METADATA, TENSORS)):
        path.write_bytes(whole[:length])
        with pytest.raises(NotAvailable, match=r"--model|join it again"):
            GGUF(path)


def test_a_file_cut_in_its_weights_is_refused(tmp_path: Path) -> None:
    whole = gguf_bytes(METADATA, TENSORS)
    path = tmp_path / "model.gguf"
    path.write_bytes(whole[:-32])
    with pytest.raises(NotAvailable, match="'two' lies outside the file"):
        GGUF(path)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_corrupt_header_is_read_or_refused_and_costs_no_memory(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(gguf_bytes(METADATA, TENSORS))
    at = data.draw(st.integers(0, header_length(METADATA, TENSORS) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=8))
    whole[at : at + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "corrupt.gguf"
    path.write_bytes(whole)
    tracemalloc.start()
    try:
        with GGUF(path) as gguf:
            for name in gguf.tensors:
                gguf.read(name)
    except NotAvailable:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"PK\x03\x04 not a model", "is not a GGUF model"), (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9")],
)
def test_what_is_no_model_is_named_with_a_remedy(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(NotAvailable, match=said) as caught:
        GGUF(path)
    assert "--model" in str(caught.value)


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        GGUF(tmp_path / "nothing.gguf")
    with pytest.raises(InvalidRequest, match="--model"):
        GGUF(tmp_path)


def test_an_unknown_weight_type_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(METADATA, {"w": Stored((1, 256), 13, bytes(176))}))
    with pytest.raises(NotAvailable, match=r"weight type 13.*Q4_K"):
        GGUF(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"general__architecture": "llama"}, "runs gemma3"),
        ({"gemma3__block_count": 0}, "block_count = 0"),
        ({"gemma3__block_count": 8}, "missing or extra tensors"),
        ({"gemma3__attention__head_count_kv": 3}, "do not divide"),
        ({"gemma3__attention__key_length": True}, "key_length = True"),
        ({"gemma3__attention__value_length": 4}, "value_length = 4"),
        ({"gemma3__feed_forward_length": 25}, "has shape"),
        ({"gemma3__embedding_length": None}, "embedding_length = None"),
        ({"gemma3__rope__freq_base": float("nan")}, "freq_base = nan"),
        ({"tokenizer__ggml__tokens": [b"x"] * 2000}, "fewer embeddings"),
    ],
)
def test_hyper_parameters_that_contradict_the_weights_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = TinyGemma().write(tmp_path / "model.gguf", **changes)
    with GGUF(path) as gguf, pytest.raises(NotAvailable, match=said) as caught:
        read_config(gguf)
    assert "--model" in str(caught.value)


def test_the_shape_comes_from_the_metadata(tmp_path: Path) -> None:
    with GGUF(TinyGemma().write(tmp_path / "model.gguf", gemma3__rope__scaling__factor=8.0)) as gguf:
        config = read_config(gguf)
    assert (config.width, config.layers, config.heads, config.kv_heads, config.head_dim, config.window) == (16, 7, 4, 2, 8, 12)
    assert config.rope_scale == 8.0
    assert [index for index in range(config.layers) if config.is_global(index)] == [5]
