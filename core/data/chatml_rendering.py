"""Conversations in ChatML, for models that bring no template: the first generation, and base models that are taught it.

Invariant: the ids are those that `core.chat.chatml` asks with, and no text can become a control token. The mask
"original" is the one of the published fine-tuning script, token for token: it learns the marks of all turns.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.chat.chatml import DEFAULT_SYSTEM
from core.chat.tiktoken_file import IM_END, IM_START
from core.chat.vocabulary import Vocabulary
from core.data.conversation import Example, Mask
from core.data.react import Block, Piece, blocks_of
from core.data.rendered import Rendered


class ChatMlRenderer:
    def __init__(self, vocabulary: Vocabulary, mask: Mask) -> None:
        self.mask: Mask = mask
        self._vocabulary = vocabulary
        self._start, self._end = vocabulary.encode_control(IM_START), vocabulary.encode_control(IM_END)
        self._break = vocabulary.encode_text("\n")

    def render(self, example: Example) -> Rendered:
        """Thinking is left out: these models do not think aloud."""
        made = Rendered([], [])
        for block in self._blocks(example):
            self._add(made, block)
        return made

    def _blocks(self, example: Example) -> Iterator[Block]:
        blocks = blocks_of(example)
        is_original = self.mask == "original"
        if is_original and blocks and blocks[0].role != "user":
            del blocks[0]  # as published: one message, whosever it is
        if is_original or not blocks or blocks[0].role != "system":
            yield Block("system", [Piece(DEFAULT_SYSTEM)])
        yield from blocks

    def _add(self, made: Rendered, block: Block) -> None:
        is_original, is_answer = self.mask == "original", block.role == "assistant"
        made.add(self._start, is_original)
        made.add([*self._vocabulary.encode_text(block.role), *self._break], False)
        for piece in block.pieces:
            made.add(self._vocabulary.encode_text(piece.text), is_answer and (piece.is_own or is_original))
        made.add(self._end, is_answer or is_original)
        made.add(self._break, is_original)
