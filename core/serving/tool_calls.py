"""Calls of tools out of a reply that comes in pieces: JSON or XML between `<tool_call>` and its end.

Owns what of a reply is text and what is a call. Invariant: the outcome is the same however the text was cut, nothing of
the model's words is lost but half of a call that was asked for, and what looks like a call and is none is counted and
stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)(?:</function>\s*)?\s*", re.DOTALL)
PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)


class Said(NamedTuple):
    text: str


class Called(NamedTuple):
    """arguments: as JSON, or as the model wrote them where its format asks for no JSON."""

    name: str
    arguments: str


Found = Said | Called


class CallReader(Protocol):
    """
    Attributes:
        malformed: calls that could not be read and were given as text
    """

    malformed: int

    def push(self, text: str) -> list[Found]: ...

    def finish(self) -> list[Found]: ...


class NoCalls:
    """For replies without tools: all of it is text."""

    malformed = 0

    def push(self, text: str) -> list[Found]:
        return [Said(text)] if text else []

    def finish(self) -> list[Found]:
        return []


class TagCalls:
    """Calls between tags, any number of them, with text before and between."""

    def __init__(self, tools: Mapping[str, Any], begun: str = "") -> None:
        """tools: the JSON schema of the parameters of each by its name; begun: what of the reply is in the prompt."""
        self.malformed = 0
        self._tools = tools
        self._held = begun
        self._begun = begun

    def push(self, text: str) -> list[Found]:
        self._held += text
        found: list[Found] = []
        while True:
            at = self._held.find(OPEN)
            if at < 0:
                certain = self._held[: len(self._held) - _undecided(self._held)]
                self._held = self._held[len(certain) :]
                return [*found, Said(certain)] if certain else found
            end = self._held.find(CLOSE, at)
            if at > 0 and (before := self._held[:at].rstrip()):
                found.append(Said(before))
            if end < 0:
                self._held = self._held[at:]
                return found
            whole, self._held = self._held[at : end + len(CLOSE)], self._held[end + len(CLOSE) :]
            found.append(self._read(whole))

    def finish(self) -> list[Found]:
        held, self._held = self._held, ""
        if held.startswith(OPEN):  # a reply that ended within the call, or forgot to close it
            was_asked_for = bool(self._begun)
            found = self._read(held)
            return [] if was_asked_for and isinstance(found, Said) else [found]  # half of it is no answer
        return [Said(held)] if held.strip() else []

    def _read(self, whole: str) -> Found:
        inside = whole.removeprefix(OPEN).removesuffix(CLOSE)
        begun, self._begun = self._begun, ""
        called = _xml_call(inside, self._tools) if "<function=" in inside else _json_call(inside)
        if called is None or called.name not in self._tools:
            self.malformed += 1
            return Said(whole.removeprefix(begun))
        return called


def _json_call(inside: str) -> Called | None:
    try:
        found = json.loads(inside)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get("arguments", found.get("parameters", {}))
    if isinstance(arguments, str):  # as JSON within JSON
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(arguments, dict):
        return None
    return Called(found["name"], json.dumps(arguments, ensure_ascii=False))


def _xml_call(inside: str, tools: Mapping[str, Any]) -> Called | None:
    whole = FUNCTION.fullmatch(inside)
    if whole is None:
        return None
    name, body = whole[1].strip(), whole[2]
    arguments = {
        key.strip(): _value(text, _type(tools.get(name), key.strip())) for key, text in PARAMETER.findall(body)
    }
    return Called(name, json.dumps(arguments, ensure_ascii=False))


def _type(schema: Any, name: str) -> Any:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    found = properties.get(name) if isinstance(properties, dict) else None
    return found.get("type") if isinstance(found, dict) else None


def _value(text: str, kind: Any) -> Any:
    """Texts as they stand, all else as JSON where it is some."""
    if kind in (None, "string"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _undecided(text: str) -> int:
    """How many of the last characters may belong to a call: blanks before it, and the beginning of its mark."""
    mark = next((n for n in range(min(len(text), len(OPEN) - 1), 0, -1) if OPEN.startswith(text[-n:])), 0)
    before = text[: len(text) - mark]
    return mark + len(before) - len(before.rstrip())
