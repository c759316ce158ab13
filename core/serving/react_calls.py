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
        self.malformed = 0
        self._names = names
        self._text = self._begun = begun
        self._is_answer = self._is_plain = self._skips = False

    def push(self, text: str) -> list[Found]:
        if self._is_answer:
            return self._answer(text)
        self._text += text
        if ACTED.search(self._text):
            return self._plain_before_call()
        if not self._is_plain and (found := ANSWERED.search(self._text)):
            self._is_answer = self._skips = True
            return self._answer(self._text[found.end() :])
        if not self._is_plain and not _may_be_react(self._text):
            self._is_plain = True
        return self._plain() if self._is_plain else []

    def finish(self) -> list[Found]:
        if self._is_answer:
            return []
        text, self._text = self._text, ""
        found = CALL.search(text)
        if found is None:
            if ACTED.search(text) and not self._is_plain:
                self.malformed += 1
            left = text.removeprefix(self._begun)
            return [Said(left)] if left else []
        name, arguments = found[1].strip(), found[2].strip()
        if name not in self._names or not _is_usable(arguments):
            self.malformed += 1
            return [Said(text.removeprefix(self._begun))]
        thought = text[: found.start()].rpartition(THOUGHT)[2].strip()
        called = Called(name, arguments)
        is_own = found.start() >= len(self._begun)  # and not what the prompt made it say
        return [Said(thought), called] if thought and is_own else [called]

    def _plain_before_call(self) -> list[Found]:
        """What stands before the call, of a reply that is written as plain text."""
        found = ACTED.search(self._text)
        if not self._is_plain or found is None or found.start() == 0:
            return []
        before, self._text = self._text[: found.start()], self._text[found.start() :]
        return [Said(before)]

    def _plain(self) -> list[Found]:
        mark = f"\n{ACTION}"
        held = next((n for n in range(len(mark) - 1, 0, -1) if self._text.endswith(mark[:n])), 0)
        certain = self._text[: len(self._text) - held]
        self._text = self._text[len(certain) :]
        return [Said(certain)] if certain else []

    def _answer(self, text: str) -> list[Found]:
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
