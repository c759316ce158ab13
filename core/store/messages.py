"""Messages: the tree of a conversation and its branches.

Invariant: versions are siblings, nothing is overwritten by another one; ids grow from parent to child.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Integer, Text, func, literal, or_, select, type_coerce
from sqlalchemy.orm import Session

from core.chat.turns import ReplyFigures, Role
from core.errors import Param, UserError
from core.store import conversations, search
from core.store.records import Conversation, Message
from core.store.schema import MessageRow, moment, utc_now

# A long branch has ten thousand rows. Read as the table's bare columns and decoded here they cost half of what the
# ORM's rows would.
_M = MessageRow.__table__.c
_FIELDS = (
    *(_M.id, _M.conversation_id, _M.parent_id, _M.role, _M.text, _M.thinking, _M.model, _M.state),
    *(
        type_coerce(_M.figures, Text),
        _M.error_code,
        type_coerce(_M.error_params, Text),
        type_coerce(_M.created, Integer),
    ),
)
_figures = msgspec.json.Decoder(ReplyFigures).decode
_params = msgspec.json.Decoder(dict[str, Param]).decode


def append(
    s: Session,
    conversation_id: int,
    role: Role,
    text: str,
    *,
    parent_id: int | None,
    model: str = "",
    thinking: str = "",
) -> Message:
    """A whole message below `parent_id`; the branch in view now ends with it."""
    row = add(s, conversation_id, role, parent_id, text=text, thinking=thinking, model=model)
    search.index_message(s, row.id, text)
    return get(s, row.id)


def get(s: Session, message_id: int) -> Message:
    """Raises UserError when it is gone."""
    versions = siblings(s, message_id)
    s.flush()
    row = s.execute(select(*_FIELDS).where(_M.id == message_id)).one()
    return _record(row, versions.index(message_id) + 1, len(versions))


def branch(s: Session, conversation_id: int, leaf_id: int | None = None, *, latest: int = 0) -> list[Message]:
    """The messages from the root to `leaf_id` (the branch in view without one), each with its place among versions;
    with `latest` only so many of them, the last ones."""
    if leaf_id is None:
        leaf_id = conversations.row_of(s, conversation_id).leaf_id
    s.flush()
    here = (_M.id == leaf_id, _M.conversation_id == conversation_id)
    up = select(_M.id, _M.parent_id, literal(1).label("count")).where(*here).cte("up", recursive=True)
    above = select(_M.id, _M.parent_id, up.c.count + 1).where(_M.id == up.c.parent_id)
    up = up.union_all(above.where(up.c.count < latest) if latest else above)
    rows = s.execute(select(*_FIELDS).where(_M.id == up.c.id)).all()
    versions = _versions(s, conversation_id)
    alone = (1, 1)
    # Ids grow from parent to child; sorting here spares SQLite from carrying the texts through a sort.
    return [_record(row, *versions.get(row[0], alone)) for row in sorted(rows, key=itemgetter(0))]


def siblings(s: Session, message_id: int) -> list[int]:
    """Ids of all versions of a message, oldest first, itself among them."""
    row = row_of(s, message_id)
    same = (MessageRow.conversation_id == row.conversation_id, MessageRow.parent_id.is_not_distinct_from(row.parent_id))
    return list(s.scalars(select(MessageRow.id).where(*same).order_by(MessageRow.id)))


def has_answers(s: Session, message_id: int) -> bool:
    """Whether anything follows the message, in any branch."""
    return s.scalar(select(MessageRow.id).where(MessageRow.parent_id == message_id).limit(1)) is not None


def switch(s: Session, message_id: int, step: int) -> Conversation:
    """Show the version `step` places from this one, down to where that branch was last written to."""
    versions = siblings(s, message_id)
    place = min(max(versions.index(message_id) + step, 0), len(versions) - 1)
    return show(s, versions[place])


def show(s: Session, message_id: int) -> Conversation:
    """Bring a message into view with the newest branch below it."""
    row = conversations.row_of(s, row_of(s, message_id).conversation_id)
    row.leaf_id = _newest_below(s, message_id)
    return conversations.record(row)


def branch_off(s: Session, message_id: int) -> Conversation:
    """A new conversation, set up as the message's own, holding a copy of the path down to it."""
    source = row_of(s, message_id)
    path = branch(s, source.conversation_id, message_id)
    made = conversations.copy_settings(s, source.conversation_id)
    parent_id: int | None = None
    for message in path:
        row = add(
            s, made.id, message.role, parent_id, text=message.text, thinking=message.thinking, model=message.model
        )
        row.state = "interrupted" if message.state == "streaming" else message.state
        row.figures = message.figures
        row.error_code, row.error_params = message.error_code, message.error_params or None
        search.index_message(s, row.id, message.text)
        parent_id = row.id
    return conversations.get(s, made.id)


def _record(values: Sequence[Any], sibling: int, siblings: int) -> Message:
    """From the values of _FIELDS."""
    *plain, figures, error_code, params, created = values
    error = (error_code, _params(params) if params else {})
    return Message(*(*plain, _figures(figures) if figures else None, *error, moment(created), sibling, siblings))


def row_of(s: Session, message_id: int) -> MessageRow:
    """The row, for the operations of this package. Raises UserError when it is gone."""
    row = s.get(MessageRow, message_id)
    if row is None:
        raise UserError("message_gone")
    return row


def add(
    s: Session,
    conversation_id: int,
    role: Role,
    parent_id: int | None,
    *,
    text: str = "",
    thinking: str = "",
    model: str = "",
) -> MessageRow:
    """The row of a new message at the end of the branch in view; not indexed yet."""
    conversation = conversations.row_of(s, conversation_id)
    row = MessageRow(
        conversation_id=conversation_id,
        parent_id=parent_id,
        role=role,
        text=text,
        thinking=thinking,
        model=model,
        state="done",
        error_code="",
        created=utc_now(),
    )
    s.add(row)
    s.flush()
    conversation.leaf_id = row.id
    conversation.updated = row.created
    if role == "user":
        conversations.name_after(s, conversation, text)
    return row


def _versions(s: Session, conversation_id: int) -> dict[int, tuple[int, int]]:
    """Place and number of versions of each message that has more than one."""
    inside = _M.conversation_id == conversation_id
    shared = select(_M.parent_id).where(inside).group_by(_M.parent_id).having(func.count() > 1)
    families: dict[int | None, list[int]] = {}
    for message_id, parent_id in s.execute(
        select(_M.id, _M.parent_id).where(inside, or_(_M.parent_id.in_(shared), _M.parent_id.is_(None))).order_by(_M.id)
    ):
        families.setdefault(parent_id, []).append(message_id)
    return {message_id: (place, len(ids)) for ids in families.values() for place, message_id in enumerate(ids, 1)}


def _newest_below(s: Session, message_id: int) -> int:
    """Ids grow, and children are younger than parents: the newest message below is a leaf."""
    down = select(MessageRow.id).where(MessageRow.id == message_id).cte("down", recursive=True)
    down = down.union_all(select(MessageRow.id).join(down, MessageRow.parent_id == down.c.id))
    return s.scalar(select(func.max(down.c.id))) or message_id
