"""The lines at the end of the output that may still change.

Invariant: what is fixed is written once and never touched again; of what may change, only lines from the first that
differs on are written anew. The cursor stands below, at the beginning of a line. What a terminal that was made smaller
has pushed above its screen is out of reach: it stays, and is not written again.
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
        self._gone = ""  # letters of what may change, from its beginning on, that are above the screen
        self._is_whole = True  # what may change stands there from its beginning on
        self._spills = False  # some of it is above the screen, so the rest goes there in its order

    @property
    def most(self) -> int:
        """Lines that may change at once: those the cursor can be moved up to."""
        return max(size(self._stream)[1] - 2, 1)

    def update(self, fixed: list[str], volatile: list[str]) -> None:
        """Put the end of `volatile`, as much as fits, in place of what may change, below `fixed`, which joins what is
        above."""
        self._let_go()
        left, open = self._unseen(fixed, volatile)
        self._spills = self._spills and (bool(self._gone) or not fixed)
        self._is_whole = self._spills or len(open) <= self.most
        self._write(left, open if self._spills else open[-self.most :])

    def _write(self, fixed: list[str], volatile: list[str]) -> None:
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
        self._lines, self._gone, self._spills = [], "", False

    def _let_go(self) -> None:
        """Of lines that are above the screen by now."""
        rows, kept = size(self._stream)[1] - 1, 0
        for line in reversed(self._lines):
            rows -= self._rows(line)
            if rows < 0:
                break
            kept += 1
        gone = self._lines[: len(self._lines) - kept]
        if gone:
            self._lines = self._lines[len(gone) :]
            self._gone = self._gone + _letters(gone) if self._is_whole else ""
            self._spills = True

    def _unseen(self, fixed: list[str], volatile: list[str]) -> tuple[list[str], list[str]]:
        """Both without what is above the screen; all of them where the text has changed since."""
        lines, seen, length = [*fixed, *volatile], 0, 0
        while length < len(self._gone) and seen < len(lines):
            letters = _letters(lines[seen : seen + 1])
            if not self._gone.startswith(letters, length):  # another text, or a line that begins there
                break
            seen, length = seen + 1, length + len(letters)
        if not _letters(lines[seen:]).startswith(self._gone[length:]):
            seen = length = 0
        self._gone = self._gone[:length][len(_letters(fixed)) :]
        return fixed[seen:], volatile[max(seen - len(fixed), 0) :]

    def _rows(self, line: str) -> int:
        """How many rows it takes now: a terminal that was made narrower has broken it."""
        columns = size(self._stream)[0]
        if columns >= self._columns:
            return 1
        return max(1, -(-cell_len(_plain(line)) // columns))


def _plain(line: str) -> str:
    return AnsiDecoder().decode_line(line).plain


def _letters(lines: list[str]) -> str:
    """Without what depends on how the text is broken into lines."""
    return "".join("".join(_plain(line).split()) for line in lines)
