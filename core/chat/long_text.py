"""Takes very long runs of blanks out of a text, for the encoder of the first generation.

Its pattern looks ahead at the end of every run of blanks, and at a million of them gives up with a crash. Invariant:
the ids of the parts, one after the other, are the ids of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LONG_RUN = 1 << 14  # characters; far below what the pattern stands

# What the pattern takes for blank, but for line breaks.
_RUN = re.compile(rf"[\t\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{{{LONG_RUN},}}")


def has_long_run(text: str) -> bool:
    """There may be one twice as long as LONG_RUN: such a run covers one of these windows."""
    return any(text[at : at + LONG_RUN].isspace() for at in range(0, len(text) - LONG_RUN + 1, LONG_RUN))


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
