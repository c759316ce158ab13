"""A reply as it comes: token ids in, pieces of thinking and answer out.

Owns what of a reply is shown: whole characters, no thinking tags, nothing of a stop string. Invariant: the pieces put
together are the same however the tokens were cut, namely `split_reply` of the whole text up to the first stop string.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.chat.detokenize import detokenizer
from core.chat.thinking import THINK_CLOSE, THINK_OPEN, ThinkingParts, overlap
from core.chat.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text. `tokens` counts those that came since the piece before it."""

    text: str
    is_thinking: bool
    tokens: int


def split_reply(text: str, *, is_thinking: bool = False) -> tuple[str, str]:
    """(thinking, answer) of a whole reply, without the tags and the empty lines around them."""
    begins = text.lstrip("\n").startswith(THINK_OPEN)
    if not is_thinking and not begins:
        return "", text
    inside = text.lstrip("\n").removeprefix(THINK_OPEN)
    thinking, _, answer = inside.partition(THINK_CLOSE)
    return thinking.strip("\n"), answer.lstrip("\n")


class ReplyStream:
    """
    Attributes:
        is_stopped: a stop string has come; the rest of the reply is not wanted
        is_thinking: the newest text belongs to the thinking
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        stop: Sequence[str] = (),
        can_think: bool = False,
        is_thinking: bool = False,
        continues: bool = False,
    ) -> None:
        """is_thinking: the prompt ends inside the thinking. continues: the reply's beginning is in the prompt."""
        self._detokenizer = detokenizer(vocabulary)
        self._parts = ThinkingParts(can_think, is_thinking, continues)
        self._stops = _StopStrings([text for text in stop if text])
        self._tokens = 0

    @property
    def is_stopped(self) -> bool:
        return self._stops.is_found

    @property
    def is_thinking(self) -> bool:
        return self._parts.is_thinking

    def push(self, id: int) -> list[Piece]:
        """The pieces that are certain with this token."""
        self._tokens += 1
        return self._pieces(self._parts.push(self._detokenizer.push(id)))

    def finish(self) -> list[Piece]:
        """What was held back until the end was known."""
        pieces = self._pieces(self._parts.push(self._detokenizer.finish()))
        pieces += self._pieces(self._parts.finish())
        rest = self._stops.finish()
        return pieces + ([self._piece(rest, is_thinking=False)] if rest else [])

    def _pieces(self, parts: Iterator[tuple[str, bool]]) -> list[Piece]:
        pieces = []
        for text, is_thinking in parts:
            shown = text if is_thinking else self._stops.push(text)
            if shown:
                pieces.append(self._piece(shown, is_thinking))
        return pieces

    def _piece(self, text: str, is_thinking: bool) -> Piece:
        tokens, self._tokens = self._tokens, 0
        return Piece(text, is_thinking, tokens)


class _StopStrings:
    """Lets text through up to the first stop string, holding back what may become one."""

    def __init__(self, stops: list[str]) -> None:
        self.is_found = False
        self._stops = stops
        self._held = ""

    def push(self, text: str) -> str:
        if self.is_found or not self._stops:
            return "" if self.is_found else text
        text = self._held + text
        # The one that is complete first, so that the outcome does not depend on how the text was cut.
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.is_found, self._held = True, ""
            return text[: min(found)[1]]
        held = overlap(text, self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        text, self._held = self._held, ""
        return text
