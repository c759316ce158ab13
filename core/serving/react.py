"""Conversations with tools for models whose format knows none: tools, calls and results written out as ReAct.

The first generation was trained on this text. Invariant: what comes out are turns of user and assistant in alternation,
after a system prompt of the user's own, and the instruction stands in front of one question only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from core.chat.turns import Turn
from core.data import react
from core.data.conversation import Message
from core.serving.refusals import Refusal
from core.serving.requests import FunctionDefinition

STOP = "Observation:"


class Written(NamedTuple):
    """continues: the last turn is the assistant's, and it goes on; begun: what the reply has in the prompt already."""

    turns: list[Turn]
    continues: bool
    begun: str = ""


def written(messages: Sequence[Message], tools: Sequence[FunctionDefinition], forced: str | None) -> Written:
    """forced: the function that has to be called; "" for any of them, None for nothing of the kind.

    Raises:
        Refusal: api_wrong_order.
    """
    system, rest = _split(messages)
    entries = _entries(rest, bool(tools))
    instruction = react.instruction([tool.model_dump(exclude_none=True) for tool in tools])
    if instruction:
        # In front of the newest question that has been answered already, so that the very last one stays short.
        asked = [at for at, (role, _) in enumerate(entries) if role == "user"]
        is_asking = entries[-1][0] == "user"
        at = asked[-2] if is_asking and len(asked) > 1 else asked[-1]
        entries[at] = ("user", f"{instruction}\n\nQuestion: {entries[at][1]}")
    turns = [Turn("user" if role == "user" else "assistant", _stripped(text)) for role, text in entries]
    begun = ""
    if forced is not None:
        begun = "Thought: I have to use a tool.\nAction:" + (f" {forced}\nAction Input:" if forced else "")
        if turns[-1].role == "assistant":
            turns[-1] = Turn("assistant", f"{turns[-1].text.removesuffix('Thought:').rstrip()}\n{begun}")
        else:
            turns.append(Turn("assistant", begun))
    elif turns[-1].role == "assistant" and turns[-1].text.endswith("Thought:"):
        begun = "Thought:"
    return Written([*system, *turns], turns[-1].role == "assistant", begun)


def _split(messages: Sequence[Message]) -> tuple[list[Turn], list[Message]]:
    has_system = messages[0].role == "system"
    system = [Turn("system", messages[0].text)] if has_system else []
    return system, list(messages[1:] if has_system else messages)


def _entries(messages: Sequence[Message], has_tools: bool) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    for at, message in enumerate(messages):
        last = entries[-1][0] if entries else ""
        if message.role == "user":
            if last == "user":
                entries[-1] = ("user", f"{entries[-1][1]}\n\n{message.text}")
            else:
                entries.append(("user", message.text))
            continue
        if not entries or (message.role == "tool" and last != "assistant"):
            raise _order(message, at)
        if message.role == "tool":
            goes_on = "\nThought:" if at == len(messages) - 1 else ""
            said = f"\nObservation: {message.text}{goes_on}"
        else:
            said = _said(message, has_tools)
        if last == "user":
            entries.append(("assistant", said))
        else:
            joint = "\n" if message.role == "assistant" else ""
            entries[-1] = ("assistant", entries[-1][1] + joint + said)
    return entries


def _said(message: Message, has_tools: bool) -> str:
    if not message.calls:
        known = "Thought: I now know the final answer.\nFinal Answer: " if has_tools else ""
        return f"{known}{message.text}"
    thought = message.text or message.thinking or f"I can use {message.calls[0].name}."
    thought = thought if thought.startswith("Thought:") else f"Thought: {thought}"
    calls = (f"\nAction: {call.name}\nAction Input: {_arguments(call.arguments)}" for call in message.calls)
    return thought + "".join(calls)


def _arguments(arguments: dict[str, object]) -> str:
    """A text that was no object goes back as it came."""
    alone = arguments.get("input")
    if set(arguments) == {"input"} and isinstance(alone, str) and alone.lstrip().startswith("`"):
        return alone
    return json.dumps(arguments, ensure_ascii=False)


def _stripped(text: str) -> str:
    return text.lstrip("\n").rstrip()


def _order(message: Message, at: int) -> Refusal:
    return Refusal("api_wrong_order", f"messages[{at}].role", role=message.role, place=at)
