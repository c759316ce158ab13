"""Reads the header of a safetensors file and writes files tensor by tensor. Imports neither torch nor safetensors.

The format is eight bytes with the length of a JSON header, the header, and the tensors one after the other. Invariant:
a header that `read_header` gives out fits the file: every tensor lies inside it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import msgspec
from msgspec import Struct

from core.errors import UserError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the library's own limit
SHARD_BYTES = 4_000_000_000
LFS_POINTER_START = b"version "  # of the text file that git-lfs puts in the place of a large one
INDEX_NAME = "model.safetensors.index.json"

ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip


class TensorEntry(Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def elements(self) -> int:
        return prod(self.shape)


def read_header(file: Path) -> dict[str, TensorEntry]:
    """The tensors of a file by name.

    Raises:
        UserError: safetensors_unreadable, lfs_pointer, or safetensors_truncated when the file ends before its last
            tensor.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = header_length(stream.read(LENGTH_BYTES), file.name)
        raw = stream.read(length)
    return parse_header(raw, length, size, file.name)


def header_length(start: bytes, name: str) -> int:
    """Of the JSON that follows the first LENGTH_BYTES bytes of a file, which are `start`.

    Raises:
        UserError: safetensors_unreadable or lfs_pointer.
    """
    if start == LFS_POINTER_START:
        raise UserError("lfs_pointer", file=name)
    length = int.from_bytes(start, "little") if len(start) == LENGTH_BYTES else MAX_HEADER_BYTES + 1
    if length > MAX_HEADER_BYTES:
        raise UserError("safetensors_unreadable", file=name)
    return length


def parse_header(raw: bytes, length: int, size: int, name: str) -> dict[str, TensorEntry]:
    """The tensors that a header of `length` bytes names, in a file of `size`.

    Raises:
        UserError: safetensors_unreadable or safetensors_truncated.
    """
    if len(raw) < length:
        raise UserError("safetensors_truncated", file=name)
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        fields.pop("__metadata__", None)
        entries = {key: msgspec.json.decode(field, type=TensorEntry) for key, field in fields.items()}
    except msgspec.DecodeError:
        raise UserError("safetensors_unreadable", file=name) from None
    _check_extent(name, entries, size - LENGTH_BYTES - length)
    return entries


def _check_extent(name: str, entries: dict[str, TensorEntry], data_bytes: int) -> None:
    for entry in entries.values():
        begin, end = entry.data_offsets
        item = ITEM_BYTES.get(entry.dtype)
        if begin < 0 or end < begin or (item is not None and end - begin != entry.elements * item):
            raise UserError("safetensors_unreadable", file=name)
    needed = max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if data_bytes < needed:
        raise UserError("safetensors_truncated", file=name)


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that will be written: `chunks` gives its bytes, in order, when its turn comes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Iterable[bytes]

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES[self.dtype]


def write_sharded(folder: Path, tensors: Sequence[Planned], shard_bytes: int = SHARD_BYTES) -> Iterator[int]:
    """Write model.safetensors, or shards of at most `shard_bytes` with their index. Yields the bytes of each chunk."""
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        yield from write_file(folder / "model.safetensors", shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        weight_map |= {tensor.name: name for tensor in shard}
        yield from write_file(folder / name, shard)
    total = sum(tensor.size_bytes for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=2), "utf-8")


def _shards(tensors: Sequence[Planned], shard_bytes: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.size_bytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.size_bytes
    return shards


def write_file(file: Path, tensors: Sequence[Planned]) -> Iterator[int]:
    """Write one file. Yields the bytes of each chunk written."""
    with file.open("wb") as out:
        out.write(_header(tensors))
        for tensor in tensors:
            written = 0
            for chunk in tensor.chunks:
                written += out.write(chunk)
                yield len(chunk)
            if written != tensor.size_bytes:
                raise ValueError(f"{tensor.name}: {written} bytes for {tensor.size_bytes}")


def _header(tensors: Sequence[Planned]) -> bytes:
    fields: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        end = at + tensor.size_bytes
        fields[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end
    raw = json.dumps(fields, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # keeps the tensors aligned
    return struct.pack("<Q", len(raw)) + raw
