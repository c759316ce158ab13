"""Where the thinking of a reply ends and the answer begins, in text that comes in pieces.

Invariant: the parts put together are the same however the text was cut, without the tags and the line breaks around
them. Knows no tokens, so that the front can read the replies of other machines with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


class ThinkingParts:
    """Tells thinking from answer in text that comes in pieces, and drops the tags and the line breaks around them."""

    def __init__(self, can_think: bool, is_thinking: bool, continues: bool) -> None:
        self.is_thinking = is_thinking
        self._is_undecided = (can_think or is_thinking) and not continues  # an opening tag may come at the start
        self._skips_breaks = is_thinking and not continues
        self._held = ""

    def push(self, text: str) -> Iterator[tuple[str, bool]]:
        if not text:
            return
        text, self._held = self._held + text, ""
        if self._is_undecided:
            rest = self._open(text)
            if rest is None:
                return
            text = rest
        if self.is_thinking:
            yield from self._think(text)
        else:
            yield from self._answer(text)

    def finish(self) -> Iterator[tuple[str, bool]]:
        text, self._held = self._held, ""
        if self.is_thinking:
            text = text.strip("\n") if self._skips_breaks else text.rstrip("\n")
        if text:
            yield text, self.is_thinking

    def _open(self, text: str) -> str | None:
        """The text after the opening tag, or all of it when there is none; None while that is open."""
        start = text.lstrip("\n")
        if len(start) < len(THINK_OPEN) and THINK_OPEN.startswith(start):
            self._held = text
            return None
        self._is_undecided = False
        if not start.startswith(THINK_OPEN):
            return text
        self.is_thinking = self._skips_breaks = True
        return start.removeprefix(THINK_OPEN)

    def _think(self, text: str) -> Iterator[tuple[str, bool]]:
        if self._skips_breaks:
            text = text.lstrip("\n")
        inside, tag, after = text.partition(THINK_CLOSE)
        if not tag:
            inside, self._held = _split_undecided(text)
        else:
            inside = inside.rstrip("\n")
        if inside:
            self._skips_breaks = False
            yield inside, True
        if tag:
            self.is_thinking, self._skips_breaks = False, True
            yield from self._answer(after)

    def _answer(self, text: str) -> Iterator[tuple[str, bool]]:
        if self._skips_breaks:
            text = text.lstrip("\n")
        if text:
            self._skips_breaks = False
            yield text, False


def _split_undecided(text: str) -> tuple[str, str]:
    """(what surely is thinking, line breaks and the beginning of a tag that may close it)."""
    certain = text[: len(text) - overlap(text, [THINK_CLOSE])].rstrip("\n")
    return certain, text[len(certain) :]


def overlap(text: str, strings: Sequence[str]) -> int:
    """How many of the last characters may be the beginning of one of the strings."""
    longest = min(len(text), max(map(len, strings)) - 1)
    return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in strings)), 0)
