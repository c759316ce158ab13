"""Conversations out of the store and into it: our JSON (the whole tree) and Markdown (the branch in view).

Invariant: an import is checked before its first row is written, and runs in one transaction: all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from core.chat.turns import ReplyFigures, Role, Sampling
from core.errors import Param, UserError
from core.store import conversations, messages, search
from core.store.records import Conversation, MessageState
from core.store.schema import MessageRow
from core.translation import say

VERSION = 1


class Head(Struct, frozen=True):
    """Says whether a file is ours, before the rest is read."""

    format: Literal["qwen-workbench-conversation"]
    version: int


When = Annotated[datetime, Meta(tz=True)]


class MessageFile(Struct, frozen=True, omit_defaults=True):
    """A message; `id` and `parent` only mean something within the file."""

    id: int
    parent: int | None
    role: Role
    text: str
    created: When
    state: MessageState = "done"
    thinking: str = ""
    model: str = ""
    figures: ReplyFigures | None = None
    error_code: str = ""
    error_params: dict[str, Param] = {}


class ConversationFile(Struct, frozen=True):
    """The whole file. Parents stand before their children."""

    format: Literal["qwen-workbench-conversation"]
    version: int
    title: str
    model: str
    system_prompt: str
    sampling: Sampling
    preset: str
    thinking: bool | None
    created: When
    leaf: int | None
    messages: tuple[MessageFile, ...]


def to_json(s: Session, conversation_id: int) -> bytes:
    """The conversation with every branch, as UTF-8 JSON for `from_json`."""
    row = conversations.get(s, conversation_id)
    tree = s.scalars(select(MessageRow).where(MessageRow.conversation_id == conversation_id).order_by(MessageRow.id))
    file = ConversationFile(
        format="qwen-workbench-conversation",
        version=VERSION,
        title=row.title,
        model=row.model,
        system_prompt=row.system_prompt,
        sampling=row.sampling,
        preset=row.preset,
        thinking=row.thinking,
        created=row.created,
        leaf=row.leaf_id,
        messages=tuple(_message_file(message) for message in tree),
    )
    return msgspec.json.format(msgspec.json.encode(file), indent=2)


def to_markdown(s: Session, conversation_id: int) -> str:
    """The branch in view, for people to read; headings in the language in force."""
    conversation = conversations.get(s, conversation_id)
    parts = [f"# {conversation.title}"]
    if conversation.system_prompt:
        parts += [f"## {say('store.markdown_system')}", conversation.system_prompt]
    for message in messages.branch(s, conversation_id):
        is_user = message.role == "user"
        parts.append("## " + (say("store.markdown_user") if is_user else message.model or say("store.markdown_model")))
        if message.thinking:
            summary = f"<summary>{say('store.markdown_thinking')}</summary>"
            parts += [f"<details>\n{summary}", message.thinking.strip(), "</details>"]
        parts.append(message.text.strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def from_json(s: Session, data: bytes) -> Conversation:
    """A new conversation from what `to_json` wrote.

    Raises:
        UserError: it is something else, from a newer version, or its parts do not fit together.
    """
    file = _read(data)
    made = conversations.create(
        s,
        file.title,
        model=file.model,
        system_prompt=file.system_prompt,
        sampling=file.sampling,
        preset=file.preset,
        thinking=file.thinking,
    )
    ids = _write(s, made.id, file.messages)
    row = conversations.row_of(s, made.id)
    row.leaf_id = ids[file.leaf] if file.leaf is not None else None
    return conversations.record(row)


def _read(data: bytes) -> ConversationFile:
    try:
        head = msgspec.json.decode(data, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError("import_not_ours") from error
    if head.version > VERSION:
        raise UserError("import_newer")
    try:
        file = msgspec.json.decode(data, type=ConversationFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError("import_damaged", reason=str(error)) from error
    _check_tree(file)
    return file


def _check_tree(file: ConversationFile) -> None:
    """Parents before children, so there is no circle; every id once; the branch in view exists."""
    seen: set[int] = set()
    for number, message in enumerate(file.messages):
        place = f"$.messages[{number}]"
        if message.id in seen:
            raise UserError("import_damaged", reason=f"{place}.id {message.id}")
        if message.parent is not None and message.parent not in seen:
            raise UserError("import_damaged", reason=f"{place}.parent {message.parent}")
        seen.add(message.id)
    if (file.leaf is None) != (not seen) or (file.leaf is not None and file.leaf not in seen):
        raise UserError("import_damaged", reason=f"$.leaf {file.leaf}")


def _write(s: Session, conversation_id: int, tree: Sequence[MessageFile]) -> dict[int, int]:
    """All at once, since ten thousand one by one take ten seconds. Our ids by those of the file."""
    last = s.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")) or 0
    ids = {message.id: last + number for number, message in enumerate(tree, 1)}
    if tree:
        s.execute(insert(MessageRow), [_row(conversation_id, message, ids) for message in tree])
        search.index_new_messages(s, [(ids[message.id], message.text) for message in tree])
    return ids


def _row(conversation_id: int, message: MessageFile, ids: dict[int, int]) -> dict[str, Any]:
    return {
        "id": ids[message.id],
        "conversation_id": conversation_id,
        "parent_id": None if message.parent is None else ids[message.parent],
        "role": message.role,
        "text": message.text,
        "thinking": message.thinking,
        "model": message.model,
        "state": "interrupted" if message.state == "streaming" else message.state,
        "figures": message.figures,
        "error_code": message.error_code,
        "error_params": message.error_params or None,
        "created": message.created,
    }


def _message_file(row: MessageRow) -> MessageFile:
    return MessageFile(
        id=row.id,
        parent=row.parent_id,
        role=row.role,
        text=row.text,
        created=row.created,
        state=row.state,
        thinking=row.thinking,
        model=row.model,
        figures=row.figures,
        error_code=row.error_code,
        error_params=row.error_params or {},
    )
