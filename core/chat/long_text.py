"""Cuts long texts for the encoder of the first generation, at places where its pattern surely ends a piece.

Invariant: the ids of the parts, one after the other, are the ids of the whole; also when each part is brought to NFC
by itself. Without this the pattern gives up with a crash on a million spaces in a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PART = 1 << 16  # characters
SURE = PART * 4  # a text of so many characters cannot hold a run that is too long for the pattern
LONG_RUN = 4096

# A letter ends its piece before a space, a line break or these marks; a line break ends its piece before these letters.
# All of them are the same in every version of Unicode and in NFC, and none joins with the one before it.
_SURE_END = re.compile(r"[A-Za-z一-鿿](?=[ \n，。])|\n(?=[!-~一-鿿])")
_RUN = re.compile(r"[\t\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{%d,}" % LONG_RUN)


def parts(text: str) -> Iterator[str]:
    """The text in parts of about PART characters, longer where no place to cut is found."""
    start = 0
    while start < len(text):
        end = _SURE_END.search(text, start + PART)
        yield text[start : end.end() if end else None]
        start = end.end() if end else len(text)


def split_runs(text: str) -> Iterator[tuple[str, bool]]:
    """(some text, whether it is one long run of blanks that is a piece by itself).

    The pattern takes a run of blanks before a word without its last blank, which goes to the word where it is a space.
    """
    start = 0
    for run in _RUN.finditer(text):
        after = text[run.end() : run.end() + 1]
        if after in ("\r", "\n"):  # then the piece goes on, and the pattern takes it in its stride
            continue
        end = run.end() - 1 if after else run.end()
        yield text[start : run.start()], False
        yield text[run.start() : end], True
        start = end
    yield text[start:], False
