"""Calls of tools out of a reply written as ReAct, which comes in pieces.

The thought before a call becomes its text, and of a last thought only the final answer is text. Invariant: as in
tool_calls.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from core.serving.tool_calls import Called, Found, Said

THOUGHT, ACTION, ANSWER = "Thought:", "Action:", "Final Answer:"
CALL = re.compile(r"(?:\A|\n)Action:(.*?)\nAction Input:(.*?)(?:\nObservation:.*|\nObservation|\Z)", re.DOTALL)
ANSWERED = re.compile(r"(?:\A|\n)Final Answer:")
ACTED = re.compile(r"(?:\A|\n)Action:")


class ReactCalls:
    """One call at most, the last thing in its reply."""

    def __init__(self, names: Collection[str], begun: str = "") -> None:
        """begun: what of the reply is in the prompt already."""
        self.malformed = 0
        self._names = names
        self._text = self._begun = begun  # what is not told yet
        self._is_plain = self._has_acted = self._is_answer = self._skips = False

    def push(self, text: str) -> list[Found]:
        if self._is_answer:
            return self._answer(text)
        self._text += text
        if self._has_acted:
            return []
        self._is_plain = self._is_plain or not _may_be_react(self._text)
        return self._plain() if self._is_plain else self._marked()

    def finish(self) -> list[Found]:
        text, self._text = self._text, ""
        left = text.removeprefix(self._begun)
        if not self._has_acted:
            return [Said(left)] if left else []
        found = CALL.search(text)
        if found is None or found[1].strip() not in self._names or not _is_usable(found[2].strip()):
            self.malformed += 1
            return [] if ACTED.search(self._begun) else [Said(left)]  # half of a call that was asked for is no answer
        called = Called(found[1].strip(), found[2].strip())
        thought = text[: found.start()].rpartition(THOUGHT)[2].strip()
        is_own = found.start() >= len(self._begun)  # and not what the prompt made it say
        return [Said(thought), called] if thought and is_own else [called]

    def _marked(self) -> list[Found]:
        """Of a reply that begins as ReAct nothing is text before its final answer."""
        acted, answered = ACTED.search(self._text), ANSWERED.search(self._text)
        if answered and (acted is None or answered.start() < acted.start()):
            self._is_answer = self._skips = True
            return self._answer(self._text[answered.end() :])
        self._has_acted = acted is not None
        return []

    def _plain(self) -> list[Found]:
        """Of any other reply all is text up to a call."""
        mark = f"\n{ACTION}"
        at = self._text.find(mark)
        self._has_acted = at >= 0
        if at < 0:
            held = next((n for n in range(len(mark) - 1, 0, -1) if self._text.endswith(mark[:n])), 0)
            at = len(self._text) - held
        certain, self._text = self._text[:at], self._text[at:]
        return [Said(certain)] if certain else []

    def _answer(self, text: str) -> list[Found]:
        self._text = ""
        if self._skips:
            text = text.lstrip()
        if not text:
            return []
        self._skips = False
        return [Said(text)]


def _may_be_react(text: str) -> bool:
    """It begins with one of the marks, or may come to do so."""
    start = text.lstrip()
    return any(start.startswith(mark) or mark.startswith(start) for mark in (THOUGHT, ACTION, ANSWER))


def _is_usable(arguments: str) -> bool:
    """What begins like JSON has to be some; code and single values stand for themselves."""
    if not arguments:
        return False
    if not arguments.startswith(("{", "[")):
        return True
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True
