"""One row of any format as an Example, or why it is none.

Owns the meaning of rows. Invariant: nothing is guessed silently: what is read otherwise than it is written is a fault,
and a row with a fault of severity "error" gives no Example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from core.data.conversation import Example, Message, Role, ToolCall
from core.data.order import order_faults, text_faults
from core.data.problems import Fault, is_usable
from core.data.shape import ROLES, Columns, Shape, role_of
from core.data.tool_calls import Unreadable, call_of_text, calls_of, tools_of

THINK, THOUGHT = "<think>", "</think>"


class Reading(NamedTuple):
    """example: None where a fault is an error"""

    example: Example | None
    faults: list[Fault]


class Unfit(Exception):
    """A row that cannot be read at all; its argument is the Fault."""

    def __init__(self, code: str, **params: str | int | float) -> None:
        super().__init__(code)
        self.fault = Fault(code, params)


def read(value: object, shape: Shape) -> Reading:
    """What a row says, and all that is wrong with it."""
    try:
        example, faults = _read(value, shape.columns)
    except Unfit as error:
        return Reading(None, [error.fault])
    faults += order_faults(example.messages) + text_faults(example)
    return Reading(example if is_usable(faults) else None, faults)


def listed(value: object) -> list[Any] | None:
    """A list as it is, or written as JSON in the cell of a table."""
    if isinstance(value, list):
        return value
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            found = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def role_key(message: Mapping[str, Any]) -> str:
    return "from" if "from" in message and "role" not in message else "role"


def text_key(message: Mapping[str, Any]) -> str:
    return "value" if "value" in message and "content" not in message else "content"


def _read(value: object, columns: Columns) -> tuple[Example, list[Fault]]:
    if not isinstance(value, Mapping):
        raise Unfit("not_an_object")
    faults: list[Fault] = []
    said = _conversation(value, columns, faults) if columns.conversation else _pair(value, columns)
    system = value.get(columns.system) if columns.system else None
    if system not in (None, "") and not (said and said[0].role == "system"):
        said.insert(0, Message("system", _text(system, 0)))
    try:
        tools = tools_of(value.get(columns.tools)) if columns.tools else ()
    except Unreadable as error:
        raise Unfit("tool_call_unreadable", reason=str(error)) from error
    return Example(tuple(said), tools), faults


def _pair(row: Mapping[str, Any], columns: Columns) -> list[Message]:
    """An instruction or question with its answer, after earlier ones where there are any."""
    question, answer = row.get(columns.question), row.get(columns.answer)
    if question is None and answer is None:
        raise Unfit("no_conversation")
    said: list[Message] = []
    for place, pair in enumerate(_history(row.get(columns.history) if columns.history else None)):
        said += [Message("user", _text(pair[0], 2 * place + 1)), _answer(_text(pair[1], 2 * place + 2))]
    asked = _text(question, len(said) + 1)
    more = _text(row.get(columns.input) if columns.input else None, len(said) + 1)
    asked = f"{asked}\n{more}" if asked and more else asked or more
    return [*said, Message("user", asked), _answer(_text(answer, len(said) + 2))]


def _history(value: object) -> list[Any]:
    if value is None or value == "":
        return []
    pairs = listed(value)
    if pairs is None or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise Unfit("not_text", place=1)
    return pairs


def _conversation(row: Mapping[str, Any], columns: Columns, faults: list[Fault]) -> list[Message]:
    given = row.get(columns.conversation)
    messages = listed(given)
    if not messages:
        raise Unfit("no_conversation" if given in (None, "", []) or isinstance(given, list) else "not_text", place=1)
    return [_message(one, place, faults) for place, one in enumerate(messages, 1)]


def _message(given: object, place: int, faults: list[Fault]) -> Message:
    if not isinstance(given, Mapping):
        raise Unfit("not_text", place=place)
    name = given.get(role_key(given))
    role = role_of(name) if isinstance(name, str) else None
    if role is None or not isinstance(name, str):
        raise Unfit("unknown_role", place=place, role=_short(name))
    if name not in ROLES:
        faults.append(Fault("odd_role", {"place": place, "role": _short(name), "read_as": role}))
    try:
        return _with_calls(given, name.strip().casefold(), role, place)
    except Unreadable as error:
        raise Unfit("tool_call_unreadable", place=place, reason=str(error)) from error


def _with_calls(given: Mapping[str, Any], name: str, role: Role, place: int) -> Message:
    content = given.get(text_key(given))
    if role == "tool":
        tool = given.get("name")
        return Message("tool", _text(content, place), name=tool if isinstance(tool, str) else "")
    if role != "assistant":
        return Message(role, _text(content, place))
    calls: tuple[ToolCall, ...]
    if name == "function_call":  # ShareGPT writes a call as a message of its own
        return Message("assistant", "", calls=(call_of_text(content),))
    calls = calls_of(given)
    thinking = given.get("reasoning_content")
    return _answer(_text(content, place), thinking if isinstance(thinking, str) else "", calls)


def _answer(text: str, thinking: str = "", calls: tuple[ToolCall, ...] = ()) -> Message:
    """What an assistant says; thinking at its head is told apart from it."""
    if not thinking and text.lstrip().startswith(THINK) and THOUGHT in text:
        before, _, text = text.partition(THOUGHT)
        thinking, text = before.lstrip().removeprefix(THINK).strip("\n"), text.lstrip("\n")
    return Message("assistant", text, thinking, calls)


def _text(content: object, place: int) -> str:
    """A text, or the parts of one; nothing at all is an empty text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise Unfit("not_text", place=place)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"
