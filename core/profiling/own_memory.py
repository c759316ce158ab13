"""What this process has of the memory for itself, and the highest it had since it was last asked.

As benchmarks/footprint.py measures it: resident memory without what other programs share; libraries of Python packages
and the model's own files are not counted as shared, though another program may have them open as well. On Linux the
kernel keeps the highest resident size exactly, so no peak falls between two samples; elsewhere a peak is not known (0).
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import psutil

_IS_LINUX = sys.platform == "linux"


def resident() -> int:
    if not _IS_LINUX:
        return int(psutil.Process().memory_info().rss)
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * mmap.PAGESIZE


def shared(model: Path | None = None) -> int:
    """Bytes that other programs would keep here if we ended. Takes some milliseconds: it looks through all mappings."""
    if not _IS_LINUX:
        full = psutil.Process().memory_full_info()
        return max(0, int(full.rss) - int(full.uss))
    places = [Path(sys.prefix), Path(sys.base_prefix), *([model] if model is not None else [])]
    ours = tuple(str(place.resolve()) for place in places)  # the kernel names files by where they really are
    found, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text("utf-8", errors="replace").splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            is_ours = len(rest) > 4 and rest[4].startswith(ours)
        elif not is_ours and name in ("Shared_Clean:", "Shared_Dirty:"):
            found += int(rest[0]) * 1024
    return found


def highest_resident() -> int:
    """Since begin_anew(), or the start; 0 where that is not known."""
    if not _IS_LINUX:
        return 0
    for line in Path("/proc/self/status").read_text("utf-8", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def begin_anew() -> None:
    if _IS_LINUX:
        try:
            Path("/proc/self/clear_refs").write_text("5", "ascii")
        except OSError:  # not everywhere may a process do so; the highest then counts from the start
            return
