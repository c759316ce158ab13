"""The one-click fixes of a row, made on the row as it stands in its file.

Owns what each fix of `problems.KINDS` does. Invariant: whatever else a row holds (ids, other keys) stays; a mended row
has none of the faults it was mended for, or it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import msgspec

from core.data.conversation import Example
from core.data.problems import KINDS
from core.data.reading import THINK, THOUGHT, listed, read, role_key, text_key
from core.data.shape import Shape, role_of

PASSES_MOST = 8  # one fix may bring another fault to light

Messages = list[dict[str, Any]]


class Mended:
    """value: None where the row is left out; example: None where it stays unusable for other faults"""

    __slots__ = ("example", "is_changed", "value")

    def __init__(self, value: Any, example: Example | None, is_changed: bool) -> None:
        self.value, self.example, self.is_changed = value, example, is_changed


DROPPED = Mended(None, None, True)


def mend(value: Any, shape: Shape, fix: Set[str], drop: Set[str]) -> Mended:
    """fix: codes to mend, each by its own fix; drop: codes whose rows are left out."""
    is_changed = False
    for _ in range(PASSES_MOST):
        example, faults = read(value, shape)
        codes = [fault.code for fault in faults]
        if any(code in drop for code in codes):
            return DROPPED
        code = next((code for code in codes if code in fix and KINDS[code].fix), None)
        if code is None:
            return Mended(value, example, is_changed)
        if (value := _fixed(value, shape, KINDS[code].fix)) is None:
            return DROPPED
        is_changed = True
    return DROPPED


def _fixed(value: Any, shape: Shape, fix: str) -> Any:
    """A changed copy; None where nothing can be kept."""
    if fix not in _FIXES or not isinstance(value, dict):
        return None
    if not shape.columns.conversation:
        return _stripped_pair(value, shape) if fix == "strip" else None
    given = value.get(shape.columns.conversation)
    messages = listed(given)
    if messages is None or not all(isinstance(message, dict) for message in messages):
        return None
    changed = _FIXES[fix]([dict(message) for message in messages], shape)
    if not changed:
        return None
    cell = msgspec.json.encode(changed).decode() if isinstance(given, str) else changed
    return {**value, shape.columns.conversation: cell}


def _stripped_pair(row: dict[str, Any], shape: Shape) -> Any:
    columns, changed = shape.columns, dict(row)
    if isinstance(answer := row.get(columns.answer), str):
        changed[columns.answer] = _stripped(answer)
    given = row.get(columns.history) if columns.history else None
    if (earlier := listed(given)) is not None:
        pairs = [[one[0], _stripped(one[1])] if isinstance(one[1], str) else one for one in earlier]
        changed[columns.history] = msgspec.json.encode(pairs).decode() if isinstance(given, str) else pairs
    return changed


def _role(message: dict[str, Any]) -> str:
    name = message.get(role_key(message))
    return (role_of(name) if isinstance(name, str) else None) or ""


def _text(message: dict[str, Any]) -> str:
    content = message.get(text_key(message))
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _stripped(text: str) -> str:
    """Thinking before the answer stays as it is."""
    if text.lstrip().startswith(THINK) and THOUGHT in text:
        thinking, _, answer = text.partition(THOUGHT)
        return f"{thinking.lstrip()}{THOUGHT}\n\n{answer.strip()}"
    return text.strip()


def _strip(messages: Messages, shape: Shape) -> Messages:
    for message in messages:
        if _role(message) == "assistant" and _text(message):
            message[text_key(message)] = _stripped(_text(message))
    return messages


def _merge(messages: Messages, shape: Shape) -> Messages:
    """Messages of one speaker in a row become one, a blank line between them. Calls of tools cannot be put together."""
    merged: Messages = []
    for message in messages:
        role = _role(message)
        if not merged or role not in ("user", "assistant") or _role(merged[-1]) != role:
            merged.append(message)
        elif {"tool_calls", "function_call"} & {*merged[-1], *message} or "function_call" in (
            merged[-1].get(role_key(merged[-1])), message.get(role_key(message)),
        ):  # fmt: skip
            return []
        else:
            parts = [text for text in (_text(merged[-1]), _text(message)) if text.strip()]
            merged[-1][text_key(merged[-1])] = "\n\n".join(parts)
    return merged


def _drop_first(messages: Messages, shape: Shape) -> Messages:
    """What stands before the first question, but for the system message."""
    place = next((place for place, message in enumerate(messages) if _role(message) == "user"), len(messages))
    head = [message for message in messages[:place] if _role(message) == "system"]
    return head + messages[place:] if place < len(messages) else []


def _drop_last(messages: Messages, shape: Shape) -> Messages:
    """What comes after the last answer."""
    while messages and _role(messages[-1]) != "assistant":
        messages.pop()
    return messages


def _map_roles(messages: Messages, shape: Shape) -> Messages:
    names = {"user": "human", "assistant": "gpt"} if shape.format == "sharegpt" else {}
    for message in messages:
        if role := _role(message):
            is_call = str(message[role_key(message)]).strip().casefold() == "function_call"
            message[role_key(message)] = "function_call" if is_call else names.get(role, role)
    return messages


_FIXES: dict[str, Callable[[Messages, Shape], Messages]] = {
    "strip": _strip,
    "merge": _merge,
    "drop_first": _drop_first,
    "drop_last": _drop_last,
    "map_roles": _map_roles,
}
