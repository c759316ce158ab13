"""Reads what a GGUF file says about itself: metadata and where each tensor lies. Knows no architecture.

Own parser of the header instead of gguf.GGUFReader: that one builds numpy views of each of some 100,000 vocabulary
strings (4 s for the starter, against 0.1 s here) and answers a cut file with an IndexError. Invariant: a `GgufFile`
that was opened is complete, every tensor lies inside the file.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS = 4
MAX_FIELDS = 100_000
MAX_TENSORS = 1_000_000
DEFAULT_ALIGNMENT = 32

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value = Any  # what a metadata field holds: a number, a string, a list of either


class _Broken(Exception):
    """The bytes are not what the format says."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `shape` with the fastest dimension last, `kind` as in ggml, rows of `row_bytes` from `offset` on."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    row_bytes: int

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def size_bytes(self) -> int:
        return self.rows * self.row_bytes


@dataclass(frozen=True, slots=True)
class GgufFile:
    path: Path
    metadata: dict[str, Value]
    tensors: dict[str, GgufTensor]

    def raw_rows(self, tensor: GgufTensor) -> NDArray[np.uint8]:
        """The stored bytes of a tensor, one row of blocks each; read from disk when touched."""
        shape = (tensor.rows, tensor.row_bytes)
        return np.memmap(self.path, np.uint8, "r", tensor.offset, shape)


def is_gguf(path: Path) -> bool:
    """Whether the file says it is one; nothing about whether it is whole."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_gguf(path: Path) -> GgufFile:
    """
    Raises:
        UserError: gguf_unreadable, gguf_truncated or gguf_quantisation_unknown.
    """
    size = path.stat().st_size
    if size < 24:
        raise UserError("gguf_unreadable", file=path.name)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            metadata, tensors = _Header(data, path.name).read()
        except _OutOfBytes:
            raise UserError("gguf_truncated", file=path.name) from None
        except (_Broken, UnicodeDecodeError):
            raise UserError("gguf_unreadable", file=path.name) from None
    if any(tensor.offset + tensor.size_bytes > size for tensor in tensors.values()):
        raise UserError("gguf_truncated", file=path.name)
    return GgufFile(path, metadata, tensors)


class _OutOfBytes(Exception):
    """The header goes on where the file ends."""


class _Header:
    """A cursor over the header."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._at = 0
        self._name = name

    def read(self) -> tuple[dict[str, Value], dict[str, GgufTensor]]:
        if self._bytes(4) != MAGIC or self._scalar("I") not in VERSIONS:
            raise _Broken
        tensor_count, field_count = self._scalar("Q"), self._scalar("Q")
        if tensor_count > MAX_TENSORS or field_count > MAX_FIELDS:
            raise _Broken
        metadata = {self._string(): self._value(self._scalar("I")) for _ in range(field_count)}
        infos = [self._tensor_info() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise _Broken
        start = -(-self._at // alignment) * alignment
        return metadata, {info[0]: self._placed(start, *info) for info in infos}

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = self._scalar("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise _Broken
        shape = tuple(self._scalar("Q") for _ in range(dimensions))[::-1]
        return name, shape, self._scalar("I"), self._scalar("Q")

    def _placed(self, start: int, name: str, shape: tuple[int, ...], kind: int, offset: int) -> GgufTensor:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise UserError("gguf_quantisation_unknown", file=self._name, kind=kind) from None
        if shape[-1] % block:
            raise _Broken
        return GgufTensor(name, shape, kind, start + offset, shape[-1] // block * block_bytes)

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._scalar("I"), self._scalar("Q"))
        return self._scalar(self._code(kind))

    def _array(self, kind: int, count: int) -> list[Value]:
        if kind == _STRING:
            self._need(8 * count)
            return [self._string() for _ in range(count)]
        code = self._code(kind)
        size = struct.calcsize("<" + code) * count
        return list(struct.unpack(f"<{count}{code}", self._bytes(size)))

    def _code(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise _Broken
        return _SCALARS[kind]

    def _scalar(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        return struct.unpack("<" + code, self._bytes(size))[0]

    def _string(self) -> str:
        return self._bytes(self._scalar("Q")).decode()

    def _bytes(self, size: int) -> bytes:
        self._need(size)
        self._at += size
        return self._data[self._at - size : self._at]

    def _need(self, size: int) -> None:
        """Checked before anything is taken, so a broken length never asks for memory."""
        if size > len(self._data) - self._at:
            raise _OutOfBytes
