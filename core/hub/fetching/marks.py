"""How many bytes of each piece of a file have come, kept in a small file beside it.

Two tables of 8-byte numbers. The first is written after the bytes themselves, so after a kill it says exactly what is
in the file. The second is written after those bytes have reached the disk, and holds when the machine itself went down.
Invariant: an entry never says more than what is there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

ENTRY_BYTES = 8
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux


class Marks:
    def __init__(self, file: Path, count: int) -> None:
        self._file = file
        self._count = count
        self._opened: FileIO | None = None

    def create(self) -> None:
        self._file.write_bytes(bytes(2 * ENTRY_BYTES * self._count))

    def read(self, *, after_reboot: bool) -> list[int] | None:
        """None where the file is missing or not ours."""
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return None
        if len(raw) != 2 * ENTRY_BYTES * self._count:
            return None
        tables = struct.unpack(f"<{2 * self._count}Q", raw)
        return list(tables[self._count :] if after_reboot else tables[: self._count])

    def come(self, piece: int, count: int) -> None:
        """8 bytes in one call of the system: a kill finds the old number or the new one."""
        self._write(ENTRY_BYTES * piece, struct.pack("<Q", count))

    def replace(self, counts: Sequence[int]) -> None:
        """Both tables, after a reboot: what had not reached the disk is not there any more."""
        self._write(0, struct.pack(f"<{2 * self._count}Q", *counts, *counts))
        os.fsync(self._handle().fileno())

    def on_disk(self, counts: Sequence[int]) -> None:
        self._write(ENTRY_BYTES * self._count, struct.pack(f"<{self._count}Q", *counts))
        os.fsync(self._handle().fileno())

    def _write(self, at: int, raw: bytes) -> None:
        handle = self._handle()
        handle.seek(at)
        handle.write(raw)

    def _handle(self) -> FileIO:
        if self._opened is None:
            self._opened = FileIO(self._file, "r+")
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def boot() -> str:
    """Another word after every start of the machine."""
    if BOOT_ID.exists():
        return BOOT_ID.read_text("ascii").strip()
    import psutil

    return str(round(psutil.boot_time() / 60))
