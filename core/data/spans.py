"""Which characters of a rendered conversation are learned.

Invariant: spans are (from, to), in order and apart; a turn is learned from where the prompt that asks for it ends to
the mark that ends it, and never beyond.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from core.chat.jinja import LEARNED_FROM, LEARNED_TO
from core.chat.tiktoken_file import IM_END, IM_START
from core.errors import UserError

Span = tuple[int, int]

HAS_MARKS = re.compile(r"{%[-+]?\s*generation\s*[-+]?%}")
BLOCK = re.compile(rf"{re.escape(IM_START)}(\w+)\n(.*?)({re.escape(IM_END)}\n?)", re.DOTALL)
# What a template writes for "do not think". It is part of the prompt that asks so, and no answer: a model that learned
# to write it would think no more.
EMPTY_THINKING = re.compile(r"<think>\s*</think>\s*")


class Turns:
    """The turns of a rendered conversation, by the places of their texts."""

    def __init__(self, rendered: str, owned: Sequence[tuple[int, int]], ends: Sequence[re.Pattern[str]]) -> None:
        """owned: where a text stands, of which message. ends: of turns, the surest first."""
        self._rendered, self._owned, self._ends = rendered, owned, ends

    def answer(self, number: int, asked: str | None) -> Span | None:
        """What answers, in the message of that number, the prompt `asked` (None: the template has none)."""
        own = [at for at, owner in self._owned if owner == number]
        first = own[0] if own else None
        start = self._start(number, asked, first)
        if start is None:
            return None
        written = max(start, own[-1] + 1) if own else start
        later = (at for at, owner in self._owned if owner > number and at >= written)
        end = self._end(written, next(later, len(self._rendered)))
        return (start, end) if start < end else None

    def _start(self, number: int, asked: str | None, first: int | None) -> int | None:
        before = [at + 1 for at, owner in self._owned if owner < number and (first is None or at < first)]
        lowest = max(before, default=0)
        start = first
        if asked is not None and self._rendered.startswith(asked):
            start = len(asked)
        elif asked is not None:  # the lines it has in common with what was written
            common = next(at for at, char in enumerate(asked) if self._rendered[at : at + 1] != char)
            line = self._rendered.rfind("\n", lowest, common) + 1
            start = line or first
        return None if start is None else self._after_empty_thinking(lowest, start)

    def _after_empty_thinking(self, lowest: int, start: int) -> int:
        for found in EMPTY_THINKING.finditer(self._rendered, lowest):
            if found.start() <= start <= found.end():
                return found.end()
        return start

    def _end(self, written: int, bound: int) -> int:
        for end in self._ends:
            if found := end.search(self._rendered, written, bound):
                return found.end()
        is_last = bound == len(self._rendered)
        return max(written, len(self._rendered.rstrip())) if is_last else written


def answers(turns: Turns, numbers: Sequence[int], asked: Callable[[int], str | None]) -> list[Span]:
    """numbers: of the messages that are answers."""
    return [span for number in numbers if (span := turns.answer(number, asked(number)))]


def without_marks(rendered: str) -> tuple[str, list[Span]]:
    """The text without the marks of `{% generation %}`, and what stood between them."""
    text, spans, start = "", [], 0
    for part in re.split(f"([{LEARNED_FROM}{LEARNED_TO}])", rendered):
        if part == LEARNED_FROM:
            start = len(text)
        elif part == LEARNED_TO:
            spans.append((start, len(text)))
        else:
            text += part
    return text, [span for span in spans if span[0] < span[1]]


def published(rendered: str) -> list[Span]:
    """The marks of all turns, and what the assistant says.

    Raises:
        UserError: mask_needs_chatml.
    """
    if BLOCK.sub("", rendered).strip():
        raise UserError("mask_needs_chatml")
    spans: list[Span] = []
    for block in BLOCK.finditer(rendered):
        spans.append((block.start(), block.start() + len(IM_START)))
        spans.append((block.start(2) if block[1] == "assistant" else block.start(3), block.end()))
    return spans
