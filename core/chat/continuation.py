"""Turns -> token ids for base models, which write a text on and know no conversation.

Invariant: what the model reads is the text of the turns as it stands, one after the other, and nothing else but what
its tokenizer begins every text with.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.tiktoken_file import END_OF_TEXT
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt, fitting

# A text written as a dialogue would go on with the person's next words.
NEXT_SPEAKER = "Human:"


class Continuation:
    can_chat = False
    can_think = False

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        ends = (vocabulary.id_of(token) for token in (END_OF_TEXT, vocabulary.named.get("eos_token", "")))
        self.stop_ids = frozenset(id for id in ends if id is not None)

    def prompt(self, turns: Sequence[Turn], *, thinking: bool | None = None, continues: bool = False) -> Prompt:
        """A system turn is left out: it is an instruction, and a base model follows none."""
        text = "".join(turn.text for turn in turns if turn.role != "system")
        ids = [*self._vocabulary.begin_ids, *self._vocabulary.encode_text(text)]
        return Prompt(ids, stop=(NEXT_SPEAKER,) if NEXT_SPEAKER in text else ())

    def fitting_prompt(
        self, turns: Sequence[Turn], limit: int, *, thinking: bool | None = None, continues: bool = False
    ) -> Prompt:
        """
        Raises:
            UserError: message_too_long.
        """
        return fitting(turns, limit, 2 if continues else 1, self.prompt)
