"""Where the items of a JSON array lie in its file, found without holding more than a window of it.

Owns the walk over an array, or over objects written one after the other on many lines. Invariant: every item comes with
its place and its line; a broken one is told once, and the walk goes on where the next item begins a line.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from typing import NamedTuple

WINDOW = 1 << 20
ITEM_MOST = 16 << 20  # an item that is not whole by then is broken
EDGE = 32  # characters before the end of a window where a value may look broken because it is cut

_between = re.compile(r"[\s,]*")
_decoder = json.JSONDecoder()


class Span(NamedTuple):
    """start, length: in bytes; line: 1-based, of its first character; fault: why it is no item, "" for one"""

    start: int
    length: int
    line: int
    fault: str = ""


def items(data: mmap.mmap | bytes, *, is_array: bool) -> Iterator[Span]:
    """The items of an array, or without one those that stand at the top."""
    window = _Window(data)
    window.skip(_between)
    if is_array:
        window.advance(window.pos + 1)
    indent: int | None = None
    last = Span(0, 0, 1)
    while window.skip(_between):
        if is_array and window.text[window.pos] == "]":
            window.advance(window.pos + 1)
            if window.skip(_between):  # what follows belongs to nothing
                yield Span(window.offset, len(data) - window.offset, window.line, "after the end of the array")
            return
        indent = window.indent() if indent is None else indent
        yield (last := _item(window, indent))
    if is_array and not last.fault:
        yield Span(len(data), 0, window.line, "the file ends within the array")


def _item(window: _Window, indent: int) -> Span:
    """The item at the window's place, which is moved behind it."""
    while True:
        end, fault = _decoded(window.text, window.pos)
        if end < len(window.text) or not window.grow(ITEM_MOST):
            break
    start, line = window.offset, window.line
    if fault:
        window.to_item(indent)
    else:
        window.advance(end)
    return Span(start, window.offset - start, line, fault)


def _decoded(text: str, start: int) -> tuple[int, str]:
    """Where the value ends, or how far it could be followed and why no further."""
    try:
        return _decoder.raw_decode(text, start)[1], ""
    except json.JSONDecodeError as error:
        is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(text) - EDGE
        return len(text) if is_cut else error.pos, error.msg
    except (ValueError, RecursionError) as error:
        return start, str(error)


class _Window:
    """A piece of the file as text; `pos` moves through it, `offset` and `line` are the same place in the file."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.text, self.pos, self.offset, self.line = "", 0, 0, 1
        self._data, self._end = data, 0
        self.grow(WINDOW)

    def grow(self, most: int) -> bool:
        """More text, twice as much as before. False where there is no more, or `most` is there already."""
        if self._end >= len(self._data) or len(self.text) - self.pos >= most:
            return False
        kept = self.text[self.pos :]
        end = min(self._end + max(WINDOW, len(kept)), len(self._data))
        while end < len(self._data) and self._data[end] & 0xC0 == 0x80:  # not amid a character
            end += 1
        self.text, self.pos = kept + self._data[self._end : end].decode(), 0
        self._end = end
        return True

    def advance(self, to: int) -> None:
        passed = self.text[self.pos : to]
        self.offset += len(passed) if passed.isascii() else len(passed.encode())
        if breaks := passed.count("\n"):
            self.line += breaks
        self.pos = to
        if to > WINDOW // 16 and to * 8 > len(self.text):  # errors are told by a count from the start of the text
            self.text, self.pos = self.text[to:], 0

    def skip(self, pattern: re.Pattern[str]) -> bool:
        """Over what matches. False at the end of the file."""
        while True:
            found = pattern.match(self.text, self.pos)
            self.advance(found.end() if found else self.pos)
            if self.pos < len(self.text):
                return True
            if not self.grow(WINDOW):
                return False

    def indent(self) -> int:
        """How far from the start of its line the place is; 0 where something else stands before it."""
        before = self.text[self.text.rfind("\n", 0, self.pos) + 1 : self.pos]
        return len(before) if not before.strip() else 0

    def to_item(self, indent: int) -> None:
        """To the next place where an item begins a line, no further in than the first one did."""
        start = re.compile(rf"\n[ \t]{{0,{indent}}}(?=\{{)")
        self.advance(self.pos + 1)
        while True:
            if found := start.search(self.text, self.pos):
                self.advance(found.end())
                return
            self.advance(max(self.pos, len(self.text) - indent - 2))
            if not self.grow(WINDOW):
                self.advance(len(self.text))
                return
