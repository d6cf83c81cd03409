"""Bytes <-> genome. What a peer sends is checked to the last byte before anything is loaded, and nothing in it can run.

    "moot" | version 1 | length of settings (u32) | settings (canonical MessagePack) | tensors (safetensors, absent without tensors)

A genome's name is the SHA-256 of these bytes. Equal genomes give equal bytes: settings sort their keys, safetensors sorts its
tensors, and `unpack` refuses bytes that packing again would not reproduce, so one genome has one name.

Safetensors: https://github.com/huggingface/safetensors#format (header length u64, JSON header, data without holes).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from node.brains.base import Genome, TensorSpec
from protocol.errors import BadSignature, LocalError, Malformed, TooLarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_GENOME: Final = 16_777_216
"""Bytes, as in `protocol.messages.BirthOffer.size`."""
MAX_SETTINGS: Final = 65_536
MAX_DEPTH: Final = 8
MAX_HEADER: Final = 65_536
"""Bytes of the safetensors header; a hundred tensors need a tenth of that."""
MAX_NAME: Final = 64

_PREFIX: Final = struct.Struct("<4sBI")
_HEADER_LENGTH: Final = struct.Struct("<Q")
_MAGIC: Final = b"moot"
_VERSION: Final = 1
_DTYPES: Final = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "U8": "uint8"}


class _Settings(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    brain: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    settings: dict[str, Any]


class _Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a safetensors header."""

    dtype: str
    shape: list[Annotated[int, Meta(ge=0, le=MAX_GENOME)]]
    data_offsets: tuple[Annotated[int, Meta(ge=0, le=MAX_GENOME)], Annotated[int, Meta(ge=0, le=MAX_GENOME)]]


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_settings = msgspec.msgpack.Decoder(_Settings)
_header = msgspec.json.Decoder(dict[Annotated[str, Meta(max_length=MAX_NAME)], _Tensor])


def pack(genome: Genome) -> bytes:
    """The genome as bytes. Raises `LocalError` for a genome that no peer would take."""
    settings = _encoder.encode(_Settings(genome.brain, dict(genome.settings)))
    data = _PREFIX.pack(_MAGIC, _VERSION, len(settings)) + settings
    if genome.tensors:
        from safetensors.numpy import save

        data += save(dict(genome.tensors))
    if len(settings) > MAX_SETTINGS or len(data) > MAX_GENOME:
        raise LocalError(f"a genome of {len(data)} bytes with {len(settings)} bytes of settings is over the limit")
    return data


def unpack(data: bytes, brain: str, schema: Mapping[str, TensorSpec], expected: bytes | None = None) -> Genome:
    """The genome in `data`, which must be of this brain and carry exactly the tensors of `schema`.

    `expected` is its content hash where the caller knows it. Raises `TooLarge`, `BadSignature` (another hash) or `Malformed`
    with the reason.
    """
    if len(data) > MAX_GENOME:
        raise TooLarge(f"a genome of {len(data)} bytes; the limit is {MAX_GENOME}")
    if expected is not None and content_hash(data) != expected:
        raise BadSignature("the genome's bytes do not have the promised hash")
    settings, tail = _unpack_settings(data)
    if settings.brain != brain:
        raise Malformed(f"a genome of brain {settings.brain!r} where one of {brain!r} was promised")
    _check_plain(settings.settings, MAX_DEPTH)
    genome = Genome(brain, _unpack_tensors(tail, schema), settings.settings)
    if pack(genome) != data:
        raise Malformed("the genome is not in its canonical form")
    return genome


def renamed(data: bytes, brain: str) -> bytes:
    """The same genome under its brain's present name; its tensors stay unread. Raises `TooLarge` or `Malformed`."""
    settings, tail = _unpack_settings(data)
    head = _encoder.encode(_Settings(brain, settings.settings))
    return _PREFIX.pack(_MAGIC, _VERSION, len(head)) + head + bytes(tail)


def most_bytes(schema: Mapping[str, TensorSpec]) -> int:
    """No genome with these tensors is longer."""
    tensors = sum(math.prod(spec.shape) * _item_bytes(spec.dtype) for spec in schema.values())
    return min(MAX_GENOME, _PREFIX.size + MAX_SETTINGS + _HEADER_LENGTH.size + MAX_HEADER + tensors)


def content_hash(data: bytes) -> bytes:
    """The name of a genome: SHA-256 of its bytes."""
    return hashlib.sha256(data).digest()


def _unpack_settings(data: bytes) -> tuple[_Settings, memoryview]:
    if len(data) < _PREFIX.size:
        raise Malformed(f"a genome of {len(data)} bytes is truncated")
    magic, version, length = _PREFIX.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise Malformed("these bytes are no genome of this version")
    if length > MAX_SETTINGS:
        raise TooLarge(f"a genome with {length} bytes of settings; the limit is {MAX_SETTINGS}")
    end = _PREFIX.size + length
    if end > len(data):
        raise Malformed("the genome's settings are truncated")
    try:
        return _settings.decode(data[_PREFIX.size : end]), memoryview(data)[end:]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"the genome's settings do not decode: {error}") from error


def _check_plain(value: Any, depth: int) -> None:
    """Settings are str, finite float, int, bool, None, lists and maps of these; MessagePack could carry more."""
    if depth == 0:
        raise Malformed(f"the genome's settings are nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Malformed("a key of the genome's settings is not text")
            _check_plain(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, depth - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed("a number in the genome's settings is not finite")
    elif value is not None and not isinstance(value, str | int):
        raise Malformed(f"the genome's settings hold a {type(value).__name__}")


def _unpack_tensors(data: memoryview, schema: Mapping[str, TensorSpec]) -> dict[str, NDArray[Any]]:
    if not schema:
        if data:
            raise Malformed("the genome carries tensors, and its brain has none")
        return {}
    _check_header(data, schema)
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, NDArray[Any]] = load(bytes(data))
    except SafetensorError as error:
        raise Malformed(f"the genome's tensors do not load: {error}") from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise Malformed(f"tensor {name!r} of the genome holds NaN or infinity")
    return tensors


def _check_header(data: memoryview, schema: Mapping[str, TensorSpec]) -> None:
    """Names, dtypes, shapes and the extent of every tensor, from the header alone."""
    if len(data) < _HEADER_LENGTH.size:
        raise Malformed("the genome's tensors are truncated")
    (length,) = _HEADER_LENGTH.unpack_from(data)
    if length > MAX_HEADER:
        raise TooLarge(f"the genome's tensor header claims {length} bytes; the limit is {MAX_HEADER}")
    start = _HEADER_LENGTH.size + length
    if start > len(data):
        raise Malformed("the genome's tensor header is truncated")
    try:
        header = _header.decode(data[_HEADER_LENGTH.size : start])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"the genome's tensor header does not decode: {error}") from error
    if odd := sorted(header.keys() ^ schema.keys()):
        raise Malformed(f"the genome has a missing or unknown tensor: {odd[0]!r}")
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1].data_offsets):
        end = _check_tensor(name, tensor, schema[name], end)
    if start + end != len(data):
        raise Malformed(f"the genome's tensors take {end} bytes and {len(data) - start} are there")


def _check_tensor(name: str, tensor: _Tensor, spec: TensorSpec, start: int) -> int:
    """Where the tensor ends, when it is what the brain expects and starts where the one before it ended."""
    if _DTYPES.get(tensor.dtype) != spec.dtype:
        raise Malformed(f"tensor {name!r} of the genome is {tensor.dtype}, not {spec.dtype}")
    if tuple(tensor.shape) != spec.shape:
        raise Malformed(f"tensor {name!r} of the genome has shape {tuple(tensor.shape)}, not {spec.shape}")
    end = start + math.prod(spec.shape) * _item_bytes(spec.dtype)
    if tensor.data_offsets != (start, end):
        raise Malformed(f"tensor {name!r} of the genome lies at {tensor.data_offsets}, not at {(start, end)}")
    return end


def _item_bytes(dtype: str) -> int:
    import numpy as np

    return int(np.dtype(dtype).itemsize)
