"""Calls of tools and the tools themselves, as the usual formats write them.

Invariant: arguments are a JSON object, or the row is refused; no text is taken for an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from core.data.conversation import ToolCall


class Unreadable(ValueError):
    """Its text says where it stopped."""


def calls_of(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """Those of an OpenAI message, of its older single form too. Raises Unreadable."""
    given = message.get("tool_calls")
    if given is None:
        older = message.get("function_call")
        return (_call(older),) if older is not None else ()
    if not isinstance(given, list):
        raise Unreadable("tool_calls")
    return tuple(_call(one) for one in given)


def call_of_text(text: object) -> ToolCall:
    """A call written as JSON text. Raises Unreadable."""
    return _call(_decoded(text) if isinstance(text, str) else text)


def tools_of(value: object) -> tuple[dict[str, Any], ...]:
    """The descriptions of tools, as a list or as JSON text of one. Raises Unreadable."""
    if value is None or value == "":
        return ()
    tools = _decoded(value) if isinstance(value, str) else value
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Unreadable("tools")
    return tuple(tools)


def _call(given: object) -> ToolCall:
    inner = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(name := inner.get("name"), str) or not name:
        raise Unreadable("name")
    arguments = inner.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        arguments = _decoded(arguments)
    if arguments is None or arguments == "":
        arguments = {}
    if not isinstance(arguments, dict):
        raise Unreadable(f"arguments: {name}")
    return ToolCall(name, arguments)


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise Unreadable(str(error)) from error
