"""Text from outside, made fit for tokenizers and pipes. Invariant: what comes out can be written as UTF-8."""

from __future__ import annotations

import sys


def piped() -> str:
    """All of standard input but the line break at its end, which `echo` and editors add."""
    return whole_characters(sys.stdin.read().removesuffix("\n"))


def whole_characters(text: str) -> str:
    """Halves of characters, as arguments and JSON can hold, become U+FFFD; bytes of an argument that are UTF-8 after
    all become what they stand for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
