"""A reader for GGUF model files (versions 2 and 3), written for hostile and damaged input.

Layout (ggml's `docs/gguf.md`): magic, version, tensor count, metadata count; the metadata; one descriptor per tensor; then, at
the next multiple of `general.alignment`, the tensor data. The file is mapped, never read whole, and every length, count and
offset is compared with the bytes that are really there before it is used, so a truncated or corrupt file raises `NotAvailable`
with the remedy and cannot cause a large allocation.

`GGUF.read` turns weights into float32 (`node.brains.gemma.quants`) a slice at a time, so that loading never holds more than the
result and a few megabytes, and `GGUF.read_rows` only the rows asked for.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from node.brains.gemma.quants import ENCODINGS, Encoding, Floats
from protocol.errors import InvalidRequest, NotAvailable

_MAX_DIMENSIONS: Final = 4
_MAX_NAME_BYTES: Final = 65_535
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final[Mapping[int, str]] = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_DTYPES: Final[Mapping[int, str]] = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_SLICE_ELEMENTS: Final = 1 << 20
"""Elements dequantised at a time: 4 MB of float32, small enough to stay near the cache."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies. `shape` is in numpy order (rows first); `offset` counts from the start of the file."""

    shape: tuple[int, ...]
    encoding: Encoding
    offset: int

    @property
    def nbytes(self) -> int:
        return prod(self.shape) // self.encoding.elements * self.encoding.size


class _Cursor:
    """A position in the mapped file that refuses to move past its end."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.at = 0

    def fail(self, why: str) -> NoReturn:
        raise NotAvailable(
            f"The model file {self.path} is damaged or incomplete ({why}): download or join it again, or choose another with --model."
        )

    def claim(self, count: int) -> int:
        """Start of the next `count` bytes; the cursor moves behind them."""
        start = self.at
        if count > len(self.data) - start:
            self.fail(f"it ends {count - (len(self.data) - start)} bytes too early")
        self.at = start + count
        return start

    def scalars(self, fmt: str) -> tuple[Any, ...]:
        layout = struct.Struct("<" + fmt)
        return layout.unpack_from(self.data, self.claim(layout.size))

    def raw(self) -> bytes:
        (length,) = self.scalars("Q")
        start = self.claim(length)
        return self.data[start : start + length]

    def text(self, limit: int | None = None) -> str:
        raw = self.raw()
        if limit is not None and len(raw) > limit:
            self.fail("a name is too long")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail("a text is not UTF-8")

    def value(self) -> Any:
        """One metadata value. Arrays of numbers become numpy arrays, arrays of strings lists of bytes."""
        (kind,) = self.scalars("I")
        if kind in _SCALARS:
            return self.scalars(_SCALARS[kind])[0]
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            self.fail(f"unknown metadata type {kind}")
        return self._array()

    def _array(self) -> Any:
        kind, count = self.scalars("IQ")
        if kind in _DTYPES:
            dtype = np.dtype(_DTYPES[kind])
            return np.frombuffer(self.data, dtype, count, self.claim(count * dtype.itemsize)).copy()
        if kind != _STRING:
            self.fail(f"unknown list type {kind}")
        return self._strings(count)

    def _strings(self, count: int) -> list[bytes]:
        """`raw` in a loop of its own: a vocabulary has 262,144 entries."""
        data, at, end = self.data, self.at, len(self.data)
        unpack = struct.Struct("<Q").unpack_from
        found: list[bytes] = []
        for _ in range(count):
            if at + 8 > end or (stop := at + 8 + unpack(data, at)[0]) > end:
                self.fail("it ends inside a list")
            found.append(data[at + 8 : stop])
            at = stop
        self.at = at
        return found


class GGUF:
    """One mapped model file: `metadata`, `tensors`, and the weights on demand. Use as a context manager.

    Raises `InvalidRequest` when the path cannot be opened and `NotAvailable` when the content is no sound GGUF file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise InvalidRequest(
                f"Cannot open the model file {path} ({reason}): give --model the path of a .gguf file.", param="--model"
            ) from error
        except ValueError as error:
            raise NotAvailable(f"The model file {path} is empty: download or join it again, or choose another with --model.") from error
        try:
            self._parse(_Cursor(self._data, path))
        except NotAvailable:
            self._data.close()
            raise

    def _parse(self, cursor: _Cursor) -> None:
        if self._data[:4] != b"GGUF":
            raise NotAvailable(f"The file {self.path} is not a GGUF model: give --model the path of a .gguf file.")
        cursor.claim(4)
        (version,) = cursor.scalars("I")
        if version not in (2, 3):
            raise NotAvailable(
                f"The model file {self.path} has GGUF version {version}, not 2 or 3: convert it again or choose another with --model."
            )
        tensor_count, metadata_count = cursor.scalars("QQ")
        self.metadata: dict[str, Any] = {}
        for _ in range(metadata_count):
            key = cursor.text(_MAX_NAME_BYTES)
            self.metadata[key] = cursor.value()
        if len(self.metadata) != metadata_count:
            cursor.fail("a metadata key appears twice")
        self.tensors = self._parse_tensors(cursor, tensor_count)

    def _parse_tensors(self, cursor: _Cursor, count: int) -> dict[str, TensorInfo]:
        found: dict[str, tuple[tuple[int, ...], Encoding, int]] = {}
        for _ in range(count):
            name = cursor.text(_MAX_NAME_BYTES)
            if name in found:
                cursor.fail("a tensor name appears twice")
            found[name] = self._parse_descriptor(cursor, name)
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            cursor.fail("its alignment is not a power of two")
        start = -(-cursor.at // alignment) * alignment
        tensors = {name: TensorInfo(shape, encoding, start + offset) for name, (shape, encoding, offset) in found.items()}
        for name, info in tensors.items():
            if info.offset % alignment or info.offset + info.nbytes > len(self._data):
                cursor.fail(f"tensor {name!r} lies outside the file")
        return tensors

    def _parse_descriptor(self, cursor: _Cursor, name: str) -> tuple[tuple[int, ...], Encoding, int]:
        (dimensions,) = cursor.scalars("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            cursor.fail(f"tensor {name!r} has {dimensions} dimensions")
        sizes = cursor.scalars(f"{dimensions}Q")
        kind, offset = cursor.scalars("IQ")
        if kind not in ENCODINGS:
            known = ", ".join(encoding.name for encoding in ENCODINGS.values())
            raise NotAvailable(
                f"Tensor {name!r} in {self.path} has weight type {kind}, which this program does not read: use a file of {known}."
            )
        encoding = ENCODINGS[kind]
        if 0 in sizes or sizes[0] % encoding.elements:
            cursor.fail(f"tensor {name!r} has an impossible shape")
        return tuple(reversed(sizes)), encoding, offset

    def read(self, name: str, out: Floats | None = None) -> Floats:
        """Tensor `name` as float32, into `out` (C-contiguous, of the tensor's shape) when given."""
        info = self.tensors[name]
        if out is None:
            out = np.empty(info.shape, np.float32)
        if out.shape != info.shape or not out.flags.c_contiguous:
            raise ValueError(f"{name}: need a contiguous array of shape {info.shape}, got {out.shape}")
        blocks = np.frombuffer(self._data, np.uint8, info.nbytes, info.offset).reshape(-1, info.encoding.size)
        flat = out.reshape(len(blocks), info.encoding.elements)
        step = _SLICE_ELEMENTS // info.encoding.elements
        for at in range(0, len(blocks), step):
            part = blocks[at : at + step]
            flat[at : at + step] = info.encoding.decode(part).reshape(len(part), -1)
        return out

    def read_rows(self, name: str, rows: Sequence[int] | NDArray[np.integer[Any]] | slice) -> Floats:
        """Some rows of a matrix as float32; shape (number of rows, columns)."""
        info = self.tensors[name]
        matrix = np.frombuffer(self._data, np.uint8, info.nbytes, info.offset).reshape(info.shape[0], -1)
        picked = matrix[rows]
        return info.encoding.decode(picked.reshape(-1, info.encoding.size)).reshape(len(picked), info.shape[1])

    def close(self) -> None:
        with suppress(BufferError):  # somebody still looks at a tensor: the file is unmapped with the last view
            self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
