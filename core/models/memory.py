"""What a model's process takes of the memory, and giving back to the system what loading needed for a while.

Two kinds go back: pages of model files that were read once, to convert or quantise their weights, and freed blocks that
the C library keeps for itself. Invariant: nothing in use changes; a dropped page is read from its file again when
somebody touches it, and a mapping that was written to is left alone. Elsewhere than on Linux nothing happens.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

log = logging.getLogger("memory")

MADV_DONTNEED = 4
GROWTH_BYTES = 48_000_000
M_MMAP_THRESHOLD, LARGE_BYTES = -3, 1 << 19


def taken(device: str) -> int:
    """Bytes: on a card the most that was set aside for this process so far, else what it has for itself (USS)."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_full_info().uss)


def give_back(folder: Path) -> None:
    """Once a model of `folder` is loaded."""
    if sys.platform != "linux":
        return
    drop_read_pages(folder)
    trim_heap()


def trim_heap() -> None:
    """Have the C library let go of freed blocks."""
    trim: Any = getattr(_libc(), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def keep_no_large_blocks() -> None:
    """From now on each large block goes back as soon as it is freed. Without it a process that makes and frees many of
    different sizes holds up to twice what it uses; with it they take some time longer to be had."""
    tell: Any = getattr(_libc(), "mallopt", None)
    if tell is not None:
        tell(M_MMAP_THRESHOLD, LARGE_BYTES)


def drop_read_pages(folder: Path) -> None:
    """Let go of the pages of files in `folder` that are mapped and were only read."""
    for start, size in _unchanged(folder):
        _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_DONTNEED)


class Sparing:
    """Call it often while weights are converted: it drops pages each time the process has grown by GROWTH_BYTES."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limit = _resident() + GROWTH_BYTES

    def __call__(self) -> None:
        if _resident() >= self._limit:
            give_back(self._folder)
            self._limit = _resident() + GROWTH_BYTES


def _resident() -> int:
    """Bytes of this process in memory, those it shares counted too. 0 elsewhere than on Linux."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * mmap.PAGESIZE


def _unchanged(folder: Path) -> list[tuple[int, int]]:
    """Where files of the folder are mapped, and how many bytes; none of them written to."""
    found: list[tuple[int, int]] = []
    place, is_ours = (0, 0), False
    files = {str(file.resolve()) for file in folder.glob("*.safetensors")}  # links, in the caches of hubs
    for line in Path("/proc/self/smaps").read_text("utf-8", errors="replace").splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            first, _, last = name.partition("-")
            place = int(first, 16), int(last, 16) - int(first, 16)
            is_ours = rest[3:4] == "p" and any(rest.endswith(f" {file}") for file in files)  # private
        elif is_ours and name == "Anonymous:" and rest.split()[0] == "0":
            found.append(place)
    return found


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None)
