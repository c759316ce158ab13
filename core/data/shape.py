"""In which of the known formats the rows of a file are: which key or column holds what.

Owns the names people give to columns. Invariant: a guess is made from names alone and is shown; where they say nothing
the format is "unknown" and the user says which column is which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, structs

from core.data.conversation import Role
from core.errors import UserError

Format = Literal["qwen", "sharegpt", "messages", "alpaca", "pairs", "unknown"]


class Columns(Struct, frozen=True):
    """Names of keys or columns; "" for what there is none of. A file has `conversation`, or `question` and `answer`.

    input: what alpaca adds to the instruction; history: earlier pairs of question and answer
    """

    conversation: str = ""
    question: str = ""
    answer: str = ""
    input: str = ""
    system: str = ""
    history: str = ""
    tools: str = ""

    @property
    def is_enough(self) -> bool:
        return bool(self.conversation or (self.question and self.answer))


def columns_of(named: Mapping[str, str]) -> Columns:
    """As a recipe names them, {} where it does not.

    Raises:
        UserError: recipe_columns, of what is no column of ours or too little to go by.
    """
    known = Columns.__struct_fields__
    columns = Columns(**{key: name for key, name in named.items() if key in known})
    if named and (set(named) - set(known) or not columns.is_enough):
        raise UserError("recipe_columns", known=", ".join(known), given=", ".join(named))
    return columns


class Shape(Struct, frozen=True):
    format: Format
    columns: Columns


_NAMES: dict[str, tuple[str, ...]] = {
    "conversation": ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "对话"),
    "question": ("instruction", "prompt", "question", "query", "input", "user", "human", "问题", "提问", "指令"),
    "answer": ("output", "completion", "answer", "response", "chosen", "assistant", "gpt", "回答", "答案", "输出"),
    "input": ("input", "context", "输入"),
    "system": ("system", "system_prompt", "系统"),
    "history": ("history", "历史"),
    "tools": ("tools", "functions"),
}  # fmt: skip

# Names that several programs write; any other spelling of them is told.
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
ODD_ROLES: dict[str, Role] = {
    "bot": "assistant", "model": "assistant", "chatgpt": "assistant", "ai": "assistant", "chatbot": "assistant",
    "助手": "assistant", "prompter": "user", "customer": "user", "用户": "user", "系统": "system",
    "ipython": "tool", "environment": "tool",
}  # fmt: skip


def role_of(name: str) -> Role | None:
    """What a role name stands for, however it is spelled."""
    plain = name.strip().casefold()
    return ROLES.get(plain) or ODD_ROLES.get(plain)


def detect(rows: Sequence[object], names: Sequence[str] = ()) -> Shape:
    """The format of a file from its first rows; names: the columns of a table."""
    found: dict[str, int] = {name: 1 for name in names}
    for row in rows:
        if isinstance(row, Mapping):
            for key in row:
                found[str(key)] = found.get(str(key), 0) + 1
    columns = _columns(sorted(found, key=lambda name: -found[name]))
    return Shape(_format(columns, rows), columns)


def chosen(given: Columns, rows: Sequence[object]) -> Shape:
    """The format where the user has said which column is which."""
    return Shape(_format(given, rows), given)


def _columns(names: Sequence[str]) -> Columns:
    """Each meaning with the first of its names that is there; a name has one meaning."""
    by_plain = {name.strip().casefold(): name for name in reversed(names)}
    taken: dict[str, str] = {}
    for meaning, known in _NAMES.items():
        free = [by_plain[name] for name in known if name in by_plain and by_plain[name] not in taken.values()]
        if free:
            taken[meaning] = free[0]
    found = Columns(**taken)
    if found.conversation:
        return structs.replace(found, question="", answer="", input="", history="")
    return found if found.is_enough else Columns()


def _format(columns: Columns, rows: Sequence[object]) -> Format:
    if columns.conversation:
        return _format_of_messages(columns.conversation, rows)
    if columns.question.casefold() == "instruction" and columns.answer.casefold() == "output":
        return "alpaca"
    return "pairs" if columns.is_enough else "unknown"


def _format_of_messages(key: str, rows: Sequence[object]) -> Format:
    listed: list[Any] = [row.get(key) for row in rows if isinstance(row, Mapping)]
    messages = [one for given in listed if isinstance(given, list) for one in given if isinstance(one, dict)]
    if not any("from" in one for one in messages):
        return "messages" if key == "messages" or any("role" in one for one in messages) else "sharegpt"
    return "qwen" if all(one.get("from") in ("user", "assistant") for one in messages) else "sharegpt"
