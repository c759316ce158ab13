"""Turns -> token ids for the chat models of the first generation, which bring no template.

Control tokens are put in as ids and every text is encoded apart. Invariant: no text can become a control token, and
the ids are those the published code builds, the choice of the turns that are left out included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.chat.tiktoken_file import END_OF_TEXT, IM_END, IM_START
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt, fitting, split_system

DEFAULT_SYSTEM = "You are a helpful assistant."
DEFAULT_WINDOW = 6144  # tokens of system prompt and history, where generation_config.json does not say


class ChatMl:
    can_chat = True
    can_think = False

    def __init__(self, vocabulary: Vocabulary, window: int = DEFAULT_WINDOW) -> None:
        """`window`: max_window_size, below which the system prompt and what is kept of the history must stay."""
        self._vocabulary, self._window = vocabulary, window
        self._start, self._end, end_of_text = (self._need(token) for token in (IM_START, IM_END, END_OF_TEXT))
        self._break = vocabulary.encode_text("\n")
        # A model that goes on with a turn of its own, or with another document, has ended its reply too.
        self.stop_ids = frozenset((self._start, self._end, end_of_text))

    def prompt(self, turns: Sequence[Turn], *, thinking: bool | None = None, continues: bool = False) -> Prompt:
        """The ids that ask for the next reply, or for more of the last turn when it `continues`; of all turns.

        These models do not think aloud; `thinking` is ignored.
        """
        system, rest = _with_system(turns)
        begun = rest.pop().text if continues else ""
        ids = self._block(system)
        for turn in rest:
            ids += self._break + self._block(turn)
        ids += [*self._break, self._start, *self._vocabulary.encode_text("assistant"), *self._break]
        return Prompt(ids + self._vocabulary.encode_text(begun))

    def fitting_prompt(
        self, turns: Sequence[Turn], limit: int, *, thinking: bool | None = None, continues: bool = False
    ) -> Prompt:
        """The prompt with as much of the history as the window and `limit` let in.

        Raises:
            UserError: message_too_long when even the last question does not fit; the window does not count it.
        """
        kept = self._in_window(turns, 2 if continues else 1)
        prompt = fitting(kept, limit, 2 if continues else 1, lambda choice: self.prompt(choice, continues=continues))
        return replace(prompt, dropped_turns=prompt.dropped_turns + len(turns) - len(kept))

    def _in_window(self, turns: Sequence[Turn], keep: int) -> list[Turn]:
        """From the newest exchange back to the first one that does not fit; the question itself always stays."""
        given, _ = split_system(turns)
        system, rest = _with_system(turns)
        first = max((at for at in range(len(rest) - keep + 1) if rest[at].role == "user"), default=0)
        used, end = len(self._block(system)), first
        for at in range(first - 1, -1, -1):
            if rest[at].role != "user" and at > 0:
                continue
            used += sum(len(self._break) + len(self._block(turn)) for turn in rest[at:end])
            if used >= self._window:
                break
            first = end = at
        return [*given, *rest[first:]]

    def _block(self, turn: Turn) -> list[int]:
        role, text = self._vocabulary.encode_text(turn.role), self._vocabulary.encode_text(turn.text)
        return [self._start, *role, *self._break, *text, self._end]

    def _need(self, token: str) -> int:
        id = self._vocabulary.id_of(token)
        assert id is not None, f"{token} is in every vocabulary of this generation"
        return id


def _with_system(turns: Sequence[Turn]) -> tuple[Turn, list[Turn]]:
    system, rest = split_system(turns)
    return (system[0] if system else Turn("system", DEFAULT_SYSTEM)), rest
