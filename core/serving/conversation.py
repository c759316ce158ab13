"""Messages of a request -> messages of ours, or why they are no conversation.

Invariant: what comes out has whole texts, one system message at most, and that first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from core.data.conversation import Message, ToolCall
from core.serving.refusals import Refusal
from core.serving.requests import ChatMessage, ChatRequest, Function, FunctionDefinition

NAME = re.compile(r"[\w.-]{1,64}")  # what stands in a line and in a tag


def messages_of(given: Sequence[ChatMessage]) -> list[Message]:
    """
    Raises:
        Refusal: api_only_text, api_no_user_message, api_wrong_order.
    """
    if not any(message.role == "user" for message in given):
        raise Refusal("api_no_user_message", "messages")
    calls = [call for message in given for call in message.tool_calls or []]
    names: dict[str | None, str] = {call.id: call.function.name for call in calls if call.id}
    made: list[Message] = []
    for at, message in enumerate(given):
        one = _message(message, at, names)
        if one.role == "system" and at > 0:
            if made[-1].role != "system":
                raise Refusal("api_wrong_order", f"messages[{at}].role", role=message.role, place=at)
            one = Message("system", f"{made.pop().text}\n\n{one.text}")
        made.append(one)
    return made


def _message(message: ChatMessage, at: int, names: dict[str | None, str]) -> Message:
    text = text_of(message, at)
    match message.role:
        case "system" | "developer":
            return Message("system", text)
        case "user":
            return Message("user", text)
        case "assistant":
            given = [call.function for call in message.tool_calls or []]
            given += [message.function_call] if message.function_call else []
            calls = tuple(ToolCall(call.name, arguments_of(call)) for call in given)
            return Message("assistant", text, message.reasoning_content or "", calls)
        case "tool" | "function":
            if at == 0:
                raise Refusal("api_wrong_order", f"messages[{at}].role", role=message.role, place=at)
            return Message("tool", text, name=message.name or names.get(message.tool_call_id, ""))


def text_of(message: ChatMessage, at: int) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    if any(part.type not in ("text", "input_text") for part in message.content):
        raise Refusal("api_only_text", f"messages[{at}].content")
    return "".join(part.text or "" for part in message.content)


def arguments_of(call: Function) -> dict[str, Any]:
    """As an object; what is none, such as a piece of code, becomes the only argument."""
    if isinstance(call.arguments, dict):
        return call.arguments
    try:
        found = json.loads(call.arguments)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    return {"input": call.arguments} if call.arguments.strip() else {}


def tools_of(request: ChatRequest) -> list[FunctionDefinition]:
    """Those that may be called, by either name of the parameter; none where the choice is "none".

    Raises:
        Refusal: api_tool_unknown, api_tools_missing, api_tool_name, api_tool_parameters.
    """
    choice = request.function_call if request.tool_choice is None else request.tool_choice
    given = [tool.function for tool in request.tools or []] or list(request.functions or [])
    for tool in given:
        _need_usable(tool)
    named = forced_name(request)
    if named is not None and named not in map(name_of, given):
        raise Refusal("api_tool_unknown", "tool_choice", name=named)
    if choice == "required" and not given:
        raise Refusal("api_tools_missing", "tool_choice")
    return [] if choice == "none" else given


def _need_usable(tool: FunctionDefinition) -> None:
    name, parameters = name_of(tool), tool.parameters
    if not NAME.fullmatch(name):
        raise Refusal("api_tool_name", "tools", name=json.dumps(name[:80], ensure_ascii=False))
    if isinstance(parameters, dict) and parameters.get("type", "object") != "object":
        kind = json.dumps(parameters["type"], ensure_ascii=False, default=str)[:80]
        raise Refusal("api_tool_parameters", "tools", name=name, kind=kind)


def forced_name(request: ChatRequest) -> str | None:
    """Of the one function that has to be called."""
    choice = request.function_call if request.tool_choice is None else request.tool_choice
    if choice is None or isinstance(choice, str):
        return None
    return choice.function.name if hasattr(choice, "function") else choice.name


def name_of(tool: FunctionDefinition) -> str:
    """By which the model calls it."""
    return str((tool.model_extra or {}).get("name_for_model") or tool.name)
