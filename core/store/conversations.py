"""Conversations: their list, their settings, and how they go and come back.

Invariant: a deleted conversation is hidden and whole until `purge`, so that delete can be undone.
"""

from __future__ import annotations

import re
from typing import TypedDict, Unpack

from sqlalchemy import Row as Result
from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.chat.turns import Sampling
from core.errors import UserError
from core.store import search
from core.store.records import Conversation, ConversationSummary
from core.store.schema import ConversationRow, MessageRow, utc_now

TITLE_LENGTH = 60
PREVIEW_LENGTH = 120


class Choices(TypedDict, total=False):
    """What a conversation is set to; only what is given changes."""

    model: str
    system_prompt: str
    sampling: Sampling
    preset: str
    thinking: bool | None


def create(s: Session, title: str = "", **choices: Unpack[Choices]) -> Conversation:
    """A new, empty conversation. Without a title it takes one from its first message."""
    now = utc_now()
    row = ConversationRow(
        title=title,
        is_named=bool(title),
        model=choices.get("model", ""),
        system_prompt=choices.get("system_prompt", ""),
        sampling=choices.get("sampling", Sampling()),
        preset=choices.get("preset", ""),
        thinking=choices.get("thinking"),
        pinned=False,
        leaf_id=None,
        draft="",
        created=now,
        updated=now,
        deleted=None,
    )
    s.add(row)
    s.flush()
    search.index_title(s, row.id, row.title)
    return record(row)


def get(s: Session, conversation_id: int) -> Conversation:
    """Raises UserError when it is gone."""
    return record(row_of(s, conversation_id))


def recent(s: Session, limit: int = 50, query: str = "") -> list[ConversationSummary]:
    """Pinned ones first, then newest first; with `query` those whose title or messages hold its words."""
    rows = (
        select(
            ConversationRow.id,
            ConversationRow.title,
            ConversationRow.pinned,
            ConversationRow.updated,
            func.substr(MessageRow.text, 1, 4 * PREVIEW_LENGTH).label("preview"),
        )
        .outerjoin(MessageRow, MessageRow.id == ConversationRow.leaf_id)
        .where(ConversationRow.deleted.is_(None))
        .order_by(ConversationRow.pinned.desc(), ConversationRow.updated.desc(), ConversationRow.id.desc())
        .limit(limit)
    )
    if query.strip():
        if (found := search.conversations_with(query)) is None:
            return []
        rows = rows.where(ConversationRow.id.in_(found))
    return [_summary(row) for row in s.execute(rows)]


def rename(s: Session, conversation_id: int, title: str) -> None:
    """The title stays from now on; "" gives the choice back to the first message."""
    row = row_of(s, conversation_id)
    title = first_line(title)
    row.is_named = bool(title)
    row.title = title or _first_words(s, conversation_id)
    search.index_title(s, row.id, row.title)


def pin(s: Session, conversation_id: int, pinned: bool) -> None:
    row_of(s, conversation_id).pinned = pinned


def delete(s: Session, conversation_id: int) -> None:
    """Hides it; `restore` brings it back until the next `purge`."""
    row_of(s, conversation_id).deleted = utc_now()


def restore(s: Session, conversation_id: int) -> None:
    row = s.get(ConversationRow, conversation_id)
    if row is None:
        raise UserError("conversation_gone")
    row.deleted = None


def purge(s: Session) -> int:
    """Really remove what was deleted; how many that were. For the start of the window only: undo ends here."""
    gone = s.scalars(
        delete_from(ConversationRow).where(ConversationRow.deleted.is_not(None)).returning(ConversationRow.id)
    )
    return len(gone.all())


def configure(s: Session, conversation_id: int, **choices: Unpack[Choices]) -> Conversation:
    row = row_of(s, conversation_id)
    for name, value in choices.items():
        setattr(row, name, value)
    return record(row)


def save_draft(s: Session, conversation_id: int, text: str) -> None:
    row_of(s, conversation_id).draft = text


def copy_settings(s: Session, conversation_id: int) -> Conversation:
    """A new, empty conversation set up as this one, its title numbered on."""
    source = get(s, conversation_id)
    return create(
        s,
        numbered(source.title),
        model=source.model,
        system_prompt=source.system_prompt,
        sampling=source.sampling,
        preset=source.preset,
        thinking=source.thinking,
    )


def row_of(s: Session, conversation_id: int) -> ConversationRow:
    """The row, for the operations of this package. Raises UserError when it is gone."""
    row = s.get(ConversationRow, conversation_id)
    if row is None or row.deleted is not None:
        raise UserError("conversation_gone")
    return row


def name_after(s: Session, row: ConversationRow, text: str) -> None:
    """Take the title from the first message, unless there is one."""
    if not row.title:
        row.title = first_line(text)
        search.index_title(s, row.id, row.title)


def first_line(text: str, length: int = TITLE_LENGTH) -> str:
    """The first line that says something, shortened at a word where there is one."""
    line = next((words for raw in text.splitlines() if (words := " ".join(raw.split()))), "")
    if len(line) <= length:
        return line
    cut = line[:length]
    space = cut.rfind(" ")
    return (cut[:space] if space > length // 2 else cut[:-1]).rstrip() + "…"


def numbered(title: str) -> str:
    """Pears -> Pears (2) -> Pears (3)."""
    found = re.fullmatch(r"(.*) \((\d{1,4})\)", title)
    return f"{found[1]} ({int(found[2]) + 1})" if found else f"{title} (2)"


def record(row: ConversationRow) -> Conversation:
    return Conversation(
        id=row.id,
        title=row.title,
        model=row.model,
        system_prompt=row.system_prompt,
        sampling=row.sampling,
        preset=row.preset,
        thinking=row.thinking,
        pinned=row.pinned,
        leaf_id=row.leaf_id,
        draft=row.draft,
        created=row.created,
        updated=row.updated,
    )


def _first_words(s: Session, conversation_id: int) -> str:
    of_user = (MessageRow.conversation_id == conversation_id, MessageRow.role == "user")
    return first_line(s.scalar(select(MessageRow.text).where(*of_user).order_by(MessageRow.id).limit(1)) or "")


_MARKS = re.compile(r"^[#>\s*`-]+|[*`]+")
_FENCES = re.compile(r"^\s*(?:```|~~~).*$", re.MULTILINE)  # the language of a code block says nothing


def _summary(row: Result[tuple[int, str, bool, object, str]]) -> ConversationSummary:
    preview = first_line(_MARKS.sub("", _FENCES.sub("", row.preview or "")), PREVIEW_LENGTH)
    return ConversationSummary(row.id, row.title, preview, row.pinned, row.updated)
