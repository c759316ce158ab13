"""Tokens laid out in lines of a page, without any widget: how wide each is, which line it is on, what is drawn of it.

Invariant: laying out is arithmetic in cells of the code font and can be done in slices, so a hundred thousand tokens
never hold the window; what has been laid out never changes while the page keeps its width.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from unicodedata import combining, east_asian_width

from core.protocol.messages import Token

PAD = 1  # cells: half of one on each side
SLICE = 512  # tokens between two looks at the clock
SHOWN = 48  # characters of one token at most; whole words of a vocabulary are shorter
_SIGNS = {"\n": "↵", "\t": "→", "\r": "␍"}


def is_part(token: Token) -> bool:
    """Whether it holds only a part of a character (or several), so that it can be shown as bytes only."""
    if "\ufffd" not in token.text or not token.data or token.is_control:
        return False
    try:
        token.data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def shown(token: Token) -> str:
    """What is drawn in its box."""
    if is_part(token):
        return token.data[: SHOWN // 3].hex(" ").upper()
    words = token.text[:SHOWN]
    if words.isalnum():
        return words
    if words.isprintable():
        return words if words.strip(" ") else "·" * len(words)
    signs = "".join(_SIGNS.get(sign, sign if sign.isprintable() else _control(sign)) for sign in words)
    return signs.replace(" ", "·") if not signs.strip(" ↵→␍") else signs


def _control(sign: str) -> str:
    code = ord(sign)
    return chr(0x2400 + code) if code < 0x20 else f"U+{code:04X}"


def cells(words: str) -> int:
    """How many cells of the code font a text takes; Chinese characters and emoji take two."""
    if words.isascii():
        return max(1, len(words))
    wide = sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in words)
    return max(1, wide)


class Flow:
    """
    Attributes:
        tokens: all of them
        laid: how many have a place by now
        starts: for each line, the index of its first token
        widths: cells of each token that has a place
    """

    def __init__(self, tokens: Sequence[Token], columns: int) -> None:
        self.tokens = tokens
        self.columns = max(8, columns)
        self.laid = 0
        self.starts = [0]
        self.widths: list[int] = []
        self._x = 0

    @property
    def is_whole(self) -> bool:
        return self.laid == len(self.tokens)

    @property
    def lines(self) -> int:
        return len(self.starts) if self.tokens else 0

    def lay(self, seconds: float) -> None:
        """Give more tokens a place, for about so long."""
        end = time.perf_counter() + seconds
        while not self.is_whole:
            self._lay(min(self.laid + SLICE, len(self.tokens)))
            if time.perf_counter() >= end:
                return

    def reflow(self, columns: int) -> Flow:
        """The same tokens in lines of another width; what was measured is kept."""
        other = Flow(self.tokens, columns)
        other.widths = self.widths
        return other

    def _lay(self, until: int) -> None:
        tokens, widths, starts, columns, x = self.tokens, self.widths, self.starts, self.columns, self._x
        for index in range(self.laid, until):
            token = tokens[index]
            if index == len(widths):
                widths.append(cells(shown(token)) + PAD)
            width = min(widths[index], columns)
            if x and x + width > columns:
                starts.append(index)
                x = 0
            x += width
            if token.text.endswith("\n") and not token.is_control and index + 1 < len(tokens):
                starts.append(index + 1)
                x = 0
        self.laid, self._x = until, x

    def line_of(self, index: int) -> int:
        return bisect_right(self.starts, index) - 1

    def line(self, number: int) -> range:
        """The indices of the tokens of one line."""
        last = self.starts[number + 1] if number + 1 < len(self.starts) else self.laid
        return range(self.starts[number], last)

    def places(self, number: int) -> list[tuple[int, int, int]]:
        """(index, first cell, cells) of every token of a line."""
        line = self.line(number)
        widths = [min(self.widths[index], self.columns) for index in line]
        return list(zip(line, accumulate(widths, initial=0), widths, strict=False))

    def at(self, number: int, cell: float) -> int | None:
        """The token at a place of a line; None beside its end."""
        for index, first, wide in self.places(number):
            if first <= cell < first + wide:
                return index
        return None
