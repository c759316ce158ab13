"""Conversations as blocks of text, for models whose format knows no tools: their use is written out as ReAct.

The instruction stands before the first question; calls, results and answer of one question are one block of the
assistant. Invariant: a piece is either the speaker's own words or what a tool has said, never both, and pieces meet
after a newline and before a letter, where no tokenizer of Qwen joins them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.data.conversation import Example, Message, ToolCall

KNOWN = "I now know the final answer."
TOOL = (
    "{name}: Call this tool to interact with the {human} API. What is the {human} API useful for? {description} "
    "Parameters: {parameters}"
)
INSTRUCTION = """\
Answer the following questions as best you can. You have access to the following APIs:

{tools}

Use the following format:

Question: the input question you must answer
Thought: you should always think about what to do
Action: the action to take, should be one of [{names}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question

Begin!"""
# In answers that were written as ReAct by hand, as the published examples are.
OBSERVED = re.compile(r"(^Observation:.*?)(?=^Thought:|^Final Answer:|\Z)", re.MULTILINE | re.DOTALL)


class Piece(NamedTuple):
    text: str
    is_own: bool = True


class Block(NamedTuple):
    role: str
    pieces: Sequence[Piece]


def blocks_of(example: Example) -> list[Block]:
    if not uses_tools(example):
        return [Block(message.role, _as_lines(_pieces(message.text))) for message in example.messages]
    transcript = _Transcript(instruction(example.tools))
    for message in example.messages:
        transcript.add(message)
    return transcript.blocks()


def uses_tools(example: Example) -> bool:
    return bool(example.tools) or any(message.calls or message.role == "tool" for message in example.messages)


def instruction(tools: Sequence[Mapping[str, Any]]) -> str:
    """What is said of the tools; nothing of none."""
    if not tools:
        return ""
    inner = [tool.get("function", tool) for tool in tools]
    names = (str(tool.get("name_for_model", tool.get("name", ""))) for tool in inner)
    return INSTRUCTION.format(tools="\n\n".join(map(_tool_line, inner)), names=", ".join(names))


def _tool_line(tool: Mapping[str, Any]) -> str:
    name = tool.get("name", "")
    return TOOL.format(
        name=tool.get("name_for_model", name),
        human=tool.get("name_for_human", name),
        description=tool.get("description_for_model", tool.get("description", "")),
        parameters=json.dumps(tool.get("parameters", {}), ensure_ascii=False),
    )


class _Transcript:
    """is_open: the assistant's last block has called a tool and goes on."""

    def __init__(self, instruction: str) -> None:
        self._instruction = instruction
        self._blocks: list[tuple[str, list[Piece]]] = []
        self._waiting: list[str] = []  # calls of one message; each is written before its own result
        self._is_open = False

    def add(self, message: Message) -> None:
        if message.role == "tool":
            self._write(*(Piece(call) for call in self._waiting[:1]), Piece(f"Observation: {message.text}", False))
            del self._waiting[:1]
            return
        self._write_waiting()
        if message.calls:
            self._waiting = [_call(call, message if at == 0 else None) for at, call in enumerate(message.calls)]
        elif message.role == "assistant":
            self._write(*_pieces(_answer(message)))
            self._is_open = False
        else:
            self._blocks.append((message.role, [Piece(self._asked(message))]))
            self._is_open = False

    def blocks(self) -> list[Block]:
        self._write_waiting()
        return [Block(role, _as_lines(pieces)) for role, pieces in self._blocks]

    def _write_waiting(self) -> None:
        if self._waiting:
            self._write(*map(Piece, self._waiting))
            self._waiting = []

    def _write(self, *pieces: Piece) -> None:
        if not self._is_open:
            self._blocks.append(("assistant", []))
            self._is_open = True
        self._blocks[-1][1].extend(pieces)

    def _asked(self, message: Message) -> str:
        if message.role != "user" or not self._instruction:
            return message.text
        before, self._instruction = self._instruction, ""
        return f"{before}\n\nQuestion: {message.text}"


def _pieces(text: str) -> list[Piece]:
    if "\nAction Input:" not in text:
        return [Piece(text)]
    parts = [part for part in OBSERVED.split(text) if part]
    whole = [*(part.removesuffix("\n") for part in parts[:-1]), parts[-1]]
    return [Piece(part, not part.startswith("Observation:")) for part in whole]


def _as_lines(pieces: Sequence[Piece]) -> list[Piece]:
    return [*(piece._replace(text=piece.text + "\n") for piece in pieces[:-1]), *pieces[-1:]]


def _call(call: ToolCall, message: Message | None) -> str:
    said = (message.text or message.thinking) if message else ""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return f"{_thought(said or f'I can use {call.name}.')}\nAction: {call.name}\nAction Input: {arguments}"


def _answer(message: Message) -> str:
    """Answers that are written as ReAct already stay as they are."""
    if message.text.startswith(("Thought:", "Final Answer:")):
        return message.text
    return f"{_thought(message.thinking or KNOWN)}\nFinal Answer: {message.text}"


def _thought(text: str) -> str:
    return text if text.startswith("Thought:") else f"Thought: {text}"
