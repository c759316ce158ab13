"""What a model is trained on: conversations, as pure values. Knows no file, no tokenizer and no model.

Invariant: an Example says nothing of where it came from or how a model reads it, so the same one can be written back to
any format and rendered for any family.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Role = Literal["system", "user", "assistant", "tool"]

# What of a conversation is learned. answers: what the assistant says and the end of its turn. original: also the marks
# of all turns, as the fine-tuning script of the first generation did.
Mask = Literal["answers", "original"]


class ToolCall(Struct, frozen=True):
    """arguments: as a JSON object."""

    name: str
    arguments: dict[str, Any] = {}


class Message(Struct, frozen=True):
    """thinking, calls: only ever of an assistant's. name: of the tool whose result this is"""

    role: Role
    text: str
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    name: str = ""


class Example(Struct, frozen=True):
    """One conversation, from its first message to its last. tools: their descriptions as JSON schemas"""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
