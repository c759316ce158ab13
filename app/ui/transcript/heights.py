"""How tall the rows are: measured where they have been seen, estimated elsewhere. Pure numbers, no Qt.

Invariant: `top(i)` is the sum of the heights before row i; changing the last row costs nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from app.ui.tokens import Type
from core.store.records import Message

LINE = round(Type.PROSE.size * Type.PROSE.line)
_WIDE = 15.0
_NARROW = 7.6


def estimate(message: Message, width: int, scale: float) -> int:
    """Pixels a message will take at a width, from its length alone: a guess within some ten per cent."""
    text = message.text
    narrow = text.isascii()
    room = width * (0.78 if message.role == "user" else 1.0) / ((_NARROW if narrow else _WIDE) * scale)
    breaks = text.count("\n")
    lines = max(1.0, len(text) / room + breaks * 0.7)
    chrome = 36 if message.role == "user" else 48 + (32 if message.thinking else 0)
    return round(lines * LINE * scale) + chrome


class Heights:
    """The heights of all rows, top to bottom."""

    def __init__(self, heights: list[int]) -> None:
        self._heights = heights
        self._tops: list[int] = []

    def __len__(self) -> int:
        return len(self._heights)

    def __getitem__(self, index: int) -> int:
        return self._heights[index]

    def append(self, height: int) -> None:
        if self._tops:
            self._tops.append(self._tops[-1] + height)
        self._heights.append(height)

    def change(self, index: int, height: int) -> int:
        """Correct one height; returns by how much it changed."""
        by = height - self._heights[index]
        if by:
            self._heights[index] = height
            if self._tops and index == len(self._heights) - 1:
                self._tops[-1] += by
            else:
                self._tops = []
        return by

    def top(self, index: int) -> int:
        """Where a row begins; with `index` one past the last, where all end."""
        return self._all()[index]

    @property
    def total(self) -> int:
        return self._all()[-1]

    def at(self, y: int) -> int:
        """The row at a place, the nearest one outside; 0 where there are none."""
        return max(0, min(bisect_right(self._all(), y) - 1, len(self._heights) - 1))

    def _all(self) -> list[int]:
        if not self._tops:
            self._tops = [0, *accumulate(self._heights)]
        return self._tops
