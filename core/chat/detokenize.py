"""Token ids -> text, piece by piece, in whole characters.

Invariant: the pieces together are the text of all ids at once, and the work per token does not grow with the reply.
"""

from __future__ import annotations

import codecs
from typing import Protocol

from core.chat.vocabulary import Vocabulary

HALF = "\ufffd"
LONGEST_CHARACTER = 4  # bytes, so at most as many tokens


class Detokenizer(Protocol):
    def push(self, id: int) -> str:
        """The text that is certain now; empty while a character is incomplete."""
        ...

    def finish(self) -> str:
        """What was held back; a character that stays incomplete becomes U+FFFD."""
        ...


def detokenizer(vocabulary: Vocabulary) -> Detokenizer:
    return _ByteDetokenizer(vocabulary) if vocabulary.is_byte_level else _WindowDetokenizer(vocabulary)


class _ByteDetokenizer:
    """For byte-level vocabularies, as all of Qwen's: each token is some bytes, and bytes add up."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        return self._decoder.decode(self._vocabulary.token_bytes(id))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _WindowDetokenizer:
    """For all others: decodes the last few tokens with and without the new one, since neighbours decide on spaces."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._told: list[int] = []  # the tokens of the piece told last: the context of the next one
        self._held: list[int] = []

    def push(self, id: int) -> str:
        if id in self._vocabulary.special_ids:
            return ""
        self._held.append(id)
        piece = self._piece()
        if piece.endswith(HALF) and len(self._held) < LONGEST_CHARACTER:
            return ""
        self._told, self._held = self._held, []
        return piece

    def finish(self) -> str:
        piece = self._piece() if self._held else ""
        self._told, self._held = self._held, []
        return piece

    def _piece(self) -> str:
        before = self._vocabulary.decode(self._told)
        return self._vocabulary.decode(self._told + self._held)[len(before) :]
