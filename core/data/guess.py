"""Which encoding the bytes of a line are in, where they are not simply UTF-8.

Owns the evidence. Invariant: nothing here is certain, so whoever takes gb18030 or cp1252 for a file says that it is a
guess; UTF-8 with a few bad spots is still UTF-8, and is never read as Chinese.
"""

from __future__ import annotations

import re

GUESSED = ("gb18030", "cp1252")  # no mark and no rule of their bytes tells these for sure
BAD_SPOTS_MOST = 4  # of the bytes beyond ASCII, at most one in so many and one may be amiss in UTF-8
COMMON_LEAST = 3  # of the pairs in Chinese text, at least one in so many is a common character

_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LONG = re.compile(rb"[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")  # hardly ever so by chance
_PAIR = re.compile(rb"[\x81-\xfe][\x30-\x39\x40-\x7e\x80-\xfe]")
_COMMON = re.compile(rb"[\xb0-\xd7\xa1-\xa3][\xa1-\xfe]")  # the first 3755 of GB 2312, its marks and letters
_HIGH = re.compile(rb"[\x80-\xff]")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def decoded(line: bytes, encoding: str) -> str | None:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return None


def is_high(line: bytes) -> bool:
    """Whether there is more than ASCII."""
    return _HIGH.search(line) is not None


def is_surely_utf8(line: bytes) -> bool:
    """By sequences that are hardly ever so by chance."""
    return _LONG.search(line) is not None and (decoded(line, "utf-8") is not None or is_damaged_utf8(line))


def is_damaged_utf8(line: bytes) -> bool:
    """UTF-8 that is cut within a character, or has a few bytes that are none."""
    high = len(_HIGH.findall(line))
    bad = high - sum(map(len, _UTF8.findall(line)))
    is_cut = _LONG.search(line) is not None and 0 < bad <= 3
    return (is_cut and high > 2 * bad) or 0 < bad * BAD_SPOTS_MOST <= high - bad


class Other:
    """What speaks for Chinese and what for Latin letters, in lines that are not UTF-8."""

    def __init__(self) -> None:
        self.lines = self._latin = self._pairs = self._common = 0

    def add(self, line: bytes) -> None:
        pairs = _PAIR.findall(line)
        self.lines += 1
        self._pairs += len(pairs)
        self._common += sum(_COMMON.fullmatch(pair) is not None for pair in pairs)
        self._latin += is_latin(line)

    @property
    def is_chinese(self) -> bool:
        return self._common * COMMON_LEAST >= self._pairs > 0

    @property
    def encoding(self) -> str:
        """The likelier one; Chinese where neither is likely, as files from here most often are."""
        return "cp1252" if not self.is_chinese and self._latin * 2 > self.lines else "gb18030"


def is_chinese(line: bytes) -> bool:
    found = Other()
    found.add(line)
    return found.is_chinese and decoded(line, "gb18030") is not None


def is_latin(line: bytes) -> bool:
    """Latin letters among ASCII, as western Windows writes them."""
    high = len(_HIGH.findall(line))
    return high * 2 <= len(line.strip()) and not _CONTROL.search(line) and decoded(line, "cp1252") is not None
