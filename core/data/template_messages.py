"""A conversation as chat templates are given it, with a character in place of every text.

Of tools and calls, whose words templates look into, only what could become a control token is hidden; the rest is read
as it was in the training of the model. Invariant: equal conversations but for their texts give equal shapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from core.chat.jinja import LEARNED_FROM, LEARNED_TO
from core.chat.stand_ins import PLACES, StandIns, message_of
from core.chat.vocabulary import Vocabulary
from core.data.conversation import Example, Message

PLAIN_FIELDS = ("content", "reasoning_content")  # everything else of a message is data, quoted where it is JSON


def unsafe_text(vocabulary: Vocabulary) -> re.Pattern[str]:
    """What in a text would be taken for a control token, or for a character of ours."""
    tokens = filter(None, map(vocabulary.token, vocabulary.control_ids))
    ours = f"[{LEARNED_FROM}{LEARNED_TO}{chr(PLACES[0])}-{chr(0x10FFFF)}]"
    return re.compile("|".join([*map(re.escape, tokens), ours]))


def shape_of(example: Example, texts: StandIns, unsafe: re.Pattern[str]) -> str:
    """Messages and tools as JSON."""
    tools = [_hidden(_wrapped(tool), texts, unsafe) for tool in example.tools]
    messages = [_message(message, texts, unsafe) for message in example.messages]
    return json.dumps([messages, tools], ensure_ascii=False)


def texts_in(values: Iterable[Any]) -> str:
    """All texts of some fields, each as its character."""
    return "".join(char for char in json.dumps(list(values), ensure_ascii=False) if ord(char) >= PLACES[0])


def _message(message: Message, texts: StandIns, unsafe: re.Pattern[str]) -> dict[str, Any]:
    made: dict[str, Any] = dict(message_of(message.role, message.text, message.thinking, texts))
    if message.calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        made["tool_calls"] = [{"type": "function", "function": _hidden(call, texts, unsafe)} for call in calls]
    if message.name:
        made["name"] = _hidden(message.name, texts, unsafe)
    return made


def _wrapped(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool if "function" in tool else {"type": "function", "function": tool}


def _hidden(value: Any, texts: StandIns, unsafe: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return texts.stand_in(value) if unsafe.search(value) else value
    if isinstance(value, Mapping):
        return {_hidden(str(key), texts, unsafe): _hidden(inner, texts, unsafe) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, texts, unsafe) for inner in value]
    return value
