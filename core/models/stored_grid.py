"""Whether the weights of a folder had 4 bits before they were written in full, as those of a GGUF file: then Int4 keeps
them as they were, by groups of GROUP, and needs more for scales (core/models/quantised/grid.py, which decides).

Invariant: a few kilobytes of one matrix are read, without torch; what cannot be told is "no".
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.models.safetensors_file import ITEM_BYTES, LENGTH_BYTES, TensorEntry, header_length

GROUP, SAMPLE = 32, 256  # columns of a group, and groups that are looked at
STEPS, OFF, SHARE = range(15, 6, -1), 0.2, 0.5  # of a grid; of a step; of the groups
_MATRIX = re.compile(r"\.(?:layers|h)\.\d+\..*weight$")
_PLAIN = {"BF16", "F16", "F32"}


def had_4_bits(file: Path, entries: Mapping[str, TensorEntry]) -> bool:
    """By the first matrix of a layer that `file` has, whose header `entries` are."""
    entry = next((entry for name, entry in entries.items() if _MATRIX.search(name) and _is_fit(entry)), None)
    if entry is None:
        return False
    with file.open("rb") as stream:
        length = header_length(stream.read(LENGTH_BYTES), file.name)
        stream.seek(LENGTH_BYTES + length + entry.data_offsets[0])
        raw = stream.read(SAMPLE * GROUP * ITEM_BYTES[entry.dtype])
    values = _values(raw, entry.dtype)
    groups = [values[at : at + GROUP] for at in range(0, len(values) - GROUP + 1, GROUP)]
    return bool(groups) and sum(map(_is_on_grid, groups)) >= SHARE * len(groups)


def _is_fit(entry: TensorEntry) -> bool:
    is_matrix = len(entry.shape) == 2 and min(entry.shape) >= GROUP
    return entry.dtype in _PLAIN and is_matrix and entry.shape[1] % GROUP == 0


def _values(raw: bytes, dtype: str) -> Sequence[float]:
    if dtype == "BF16":
        wide = array("f")
        wide.frombytes(array("I", (value[0] << 16 for value in struct.iter_unpack("<H", raw))).tobytes())
        return wide
    form = "<e" if dtype == "F16" else "<f"
    return [value[0] for value in struct.iter_unpack(form, raw)]


def _is_on_grid(group: Sequence[float]) -> bool:
    low, high = min(group), max(group)
    if not low < high:
        return False
    return any(_lies_on(group, low, steps / (high - low)) for steps in STEPS)


def _lies_on(group: Sequence[float], low: float, scale: float) -> bool:
    return all(abs((value - low) * scale - round((value - low) * scale)) <= OFF for value in group)
