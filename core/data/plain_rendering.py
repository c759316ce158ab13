"""Conversations as one running text, for base models that know neither a template nor the marks of ChatML.

Invariant: nothing but the texts, one after the other, and the end of the text; what the model reads before its first
answer is what `core.chat.continuation` asks with.
"""

from __future__ import annotations

from itertools import groupby

from core.chat.tiktoken_file import END_OF_TEXT
from core.chat.vocabulary import Vocabulary
from core.data.conversation import Example, Mask
from core.data.react import blocks_of
from core.data.rendered import Rendered
from core.errors import UserError


class PlainRenderer:
    mask: Mask = "answers"

    def __init__(self, vocabulary: Vocabulary, mask: Mask) -> None:
        """
        Raises:
            UserError: mask_needs_chatml.
        """
        if mask == "original":
            raise UserError("mask_needs_chatml")
        self._vocabulary = vocabulary
        ends = (vocabulary.id_of(token) for token in (END_OF_TEXT, vocabulary.named.get("eos_token", "")))
        self._end = [id for id in ends if id is not None][:1]

    def render(self, example: Example) -> Rendered:
        """System messages are left out, as in the chat: a base model follows no instructions."""
        made = Rendered([], [])
        made.add(self._vocabulary.begin_ids, False)
        blocks = [block for block in blocks_of(example) if block.role != "system"]
        pieces = [
            (piece.text, block.role == "assistant" and piece.is_own) for block in blocks for piece in block.pieces
        ]
        for is_learned, run in groupby(pieces, key=lambda piece: piece[1]):
            made.add(self._vocabulary.encode_text("".join(text for text, _ in run)), is_learned)
        made.add(self._end, bool(pieces) and pieces[-1][1])
        return made
