"""Text for a terminal: without what could command it, broken into lines where readers of Chinese expect it.

Invariant: what `harmless` returns moves no cursor, changes no mode and turns no direction of writing, whatever came in.
"""

from __future__ import annotations

import re

_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421"}  # shown as ␛, ␇ ...
_OTHERS = [*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # C1, directions
_TABLE = str.maketrans(
    _CONTROLS
    | dict.fromkeys(_OTHERS, "\ufffd")
    | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    | {0x0A: "\n", 0x09: "    ", 0x0D: "", 0x2028: "\n", 0x2029: "\n"}
)

_WIDE = "\u1100-\u115f\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_OPENERS = "（〔［｛〈《「『【“‘"
_CLOSERS = "，。、；：？！）〕］｝〉》」』】”’…,.;:?!)\\]%"
_PIECE = re.compile(rf"[{_OPENERS}]*(?:[{_WIDE}]|[^\s{_WIDE}{_OPENERS}]+|(?=\s|$))[{_CLOSERS}]*\s*|\s+|.", re.DOTALL)


def harmless(text: str) -> str:
    """With control characters as pictures, turns of direction and halves of characters as U+FFFD; tabs are four
    blanks, carriage returns are left out."""
    return text.translate(_TABLE)


def breaks(text: str, width: int) -> list[int]:
    """Where one line must be broken to fit `width` columns: between words, anywhere within Chinese but before a mark
    that closes; a word longer than a line is cut."""
    from rich.cells import cell_len, chop_cells

    width = max(width, 2)  # of one Chinese character
    places: list[int] = []
    column = 0
    for match in _PIECE.finditer(text):
        word = match.group()
        size = cell_len(word.rstrip())
        if column and column + size > width:
            places.append(match.start())
            column = 0
        if size > width:
            rows = chop_cells(word, width)
            at = match.start()
            for row in rows[:-1]:
                at += len(row)
                places.append(at)
            column = cell_len(rows[-1])
        else:
            column += cell_len(word)
    return places


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns."""
    lines = []
    for line in text.split("\n"):
        ends = [*breaks(line, width), len(line)]
        lines += [line[start:end].rstrip() for start, end in zip([0, *ends], ends, strict=False)]
    return lines
