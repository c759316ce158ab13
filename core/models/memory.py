"""Gives memory back to the system while a model is made: mapped weights that were used up, and what was freed.

A file stays mapped as long as one of its tensors is in use, and with it every page that was ever read; and the C library
keeps freed blocks of up to 32 MB for later. Invariant: no value changes: only pages that are mapped from a file are
given back, and they are read again when needed.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

_MAPS = Path("/proc/self/maps")
_DONTNEED = 4  # MADV_DONTNEED on Linux


def release(tensors: Iterable[Tensor]) -> None:
    """Take the pages of these tensors out of this process, where they are mapped from a file; Linux only."""
    if not sys.platform.startswith("linux"):
        return
    found = _file_mappings()
    system = ctypes.CDLL(None)
    for tensor in tensors:
        begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages only: the rest has neighbours
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end and any(start <= begin and end <= stop for start, stop in found):
            system.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONTNEED)


def trim() -> None:
    """Freed memory back to the system; where the C library cannot, nothing happens."""
    if sys.platform.startswith("linux") and hasattr(system := ctypes.CDLL(None), "malloc_trim"):
        system.malloc_trim(0)


def _file_mappings() -> list[tuple[int, int]]:
    """Addresses at which safetensors files lie."""
    found = []
    for line in _MAPS.read_text("utf-8", errors="replace").splitlines():
        if ".safetensors" in line:
            start, _, stop = line.split(" ", 1)[0].partition("-")
            found.append((int(start, 16), int(stop, 16)))
    return found
