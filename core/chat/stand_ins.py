"""Private-use characters that stand for what people and models wrote, while a template is rendered.

Invariant: a template sees none of the texts, so it can neither alter them nor make a control token of them; what it
makes of a conversation depends on the conversation's shape alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Supplementary private use areas: 65,534 characters each, more than any conversation has texts.
PLACES = (0xF0000, 0x100000)
SIZE = 0xFFFE


class StandIns:
    """The texts of a conversation, each standing for a character that the template's source does not use."""

    def __init__(self, source: str) -> None:
        self.first = first_place(source)
        self.texts: list[str] = []

    def stand_in(self, text: str) -> str:
        """Empty stays empty: templates leave out what is empty."""
        if not text:
            return ""
        self.texts.append(text)
        return chr(self.first + len(self.texts) - 1)

    def split(self, rendered: str) -> Iterator[tuple[str, str]]:
        """(the template's part, the text after it), the last text empty."""
        start = 0
        for at, number in places(rendered, self.first, len(self.texts)):
            yield rendered[start:at], self.texts[number]
            start = at + 1
        yield rendered[start:], ""


def first_place(source: str) -> int:
    return next((place for place in PLACES if not _uses(source, place)), PLACES[0])


def places(rendered: str, first: int, count: int) -> Iterator[tuple[int, int]]:
    """Where which of the first `count` texts stands."""
    for found in re.finditer(f"[{chr(first)}-{chr(0x10FFFF)}]", rendered):
        number = ord(found[0]) - first
        if number < count:
            yield found.start(), number


def message_of(role: str, text: str, thinking: str, texts: StandIns) -> dict[str, str]:
    """A message as templates want it."""
    message = {"role": role, "content": texts.stand_in(text)}
    if thinking:
        message["reasoning_content"] = texts.stand_in(thinking)
    return message


def _uses(source: str, place: int) -> bool:
    return any(place <= ord(char) < place + SIZE for char in source)
