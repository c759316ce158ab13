"""The lines at the end of the output that may still change.

Invariant: what is fixed is written once and never touched again; of what may change, only lines from the first that
differs on are written anew. The cursor stands below, at the beginning of a line.
"""

from __future__ import annotations

import os
from typing import TextIO

from rich.ansi import AnsiDecoder
from rich.cells import cell_len

_ERASE_BELOW = "\033[J"


def size(stream: TextIO) -> tuple[int, int]:
    """(columns, rows) of its terminal."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns = rows = 0
    return columns or 80, rows or 24


class Region:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._columns = 0

    def update(self, fixed: list[str], volatile: list[str]) -> None:
        """Put `volatile` in place of what may change, below `fixed`, which joins what is above."""
        lines = [*fixed, *volatile]
        same = 0
        while same < min(len(lines), len(self._lines)) and lines[same] == self._lines[same]:
            same += 1
        if same < len(lines) or same < len(self._lines):
            up = sum(self._rows(line) for line in self._lines[same:])
            back = f"\033[{up}A\r" if up else ""
            erased = _ERASE_BELOW if same < len(self._lines) else ""
            self._stream.write(back + erased + "".join(f"{line}\n" for line in lines[same:]))
            self._stream.flush()
        self._lines, self._columns = volatile, size(self._stream)[0]

    def forget(self) -> None:
        """What may change stays where it is, and stands a second time below what others wrote."""
        self._lines = []

    def _rows(self, line: str) -> int:
        """How many rows it takes now: a terminal that was made narrower has broken it."""
        columns = size(self._stream)[0]
        if columns >= self._columns:
            return 1
        width = cell_len(AnsiDecoder().decode_line(line).plain)
        return max(1, -(-width // columns))
