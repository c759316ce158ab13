"""Colours of code, found a slice at a time so that no paint waits for the highlighter.

Invariant: a slice takes `SLICE_S` at most, and code longer than `LONGEST` stays plain. Imports no Qt; Pygments is
imported by the first code whose language it may know.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

LONGEST = 60_000
SLICE_S = 0.006
_ASK_CLOCK_EVERY = 16


class Piece(NamedTuple):
    """A run of code of one colour role (`Colors.code_...`)."""

    start: int
    length: int
    role: str


def pieces(source: str, language: str) -> Iterator[list[Piece]]:
    """Yields what has been found after each slice; ends at once for plain text and unknown languages."""
    if not language or len(source) > LONGEST:
        return
    lexer = _lexer(language.lower())
    if lexer is None:
        return
    found: list[Piece] = []
    until = time.perf_counter() + SLICE_S
    for count, (start, kind, value) in enumerate(lexer.get_tokens_unprocessed(source)):
        role = _role(kind)
        if role:
            found.append(Piece(start, len(value), role))
        if count % _ASK_CLOCK_EVERY == 0 and time.perf_counter() > until:
            yield found
            found = []
            until = time.perf_counter() + SLICE_S
    yield found


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return None


@lru_cache(maxsize=512)
def _role(kind: _TokenType) -> str:
    from pygments.token import Token

    roles = (
        (Token.Comment, "code_comment"),
        (Token.Keyword, "code_keyword"),
        (Token.Operator.Word, "code_keyword"),
        (Token.Literal.String, "code_string"),
        (Token.Literal.Number, "code_number"),
        (Token.Name.Function, "code_name"),
        (Token.Name.Class, "code_name"),
        (Token.Name.Builtin, "code_name"),
        (Token.Name.Decorator, "code_name"),
    )
    return next((role for parent, role in roles if parent in kind.split()), "")
