"""Replies: how one begins, is saved while it streams, ends, breaks off and goes on.

Invariant: a message is `streaming` exactly while its owner, a living process, writes it; when the owner is found dead
the message becomes `interrupted` with all that was saved.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.chat.turns import ReplyFigures
from core.errors import Param, UserError
from core.store import conversations, messages, owner, search
from core.store.records import Conversation, Message, MessageState
from core.store.schema import MessageRow


class Begun(NamedTuple):
    """A reply that waits for its text. `path` is what it answers, from the root; `reply` is not in it."""

    conversation: Conversation
    path: list[Message]
    reply: Message


class End(NamedTuple):
    """How a reply ended."""

    state: MessageState
    figures: ReplyFigures | None = None
    error_code: str = ""
    error_params: dict[str, Param] | None = None


def ask(s: Session, conversation_id: int, text: str) -> Begun:
    """The question below the branch in view, its reply begun, the draft cleared."""
    row = conversations.row_of(s, conversation_id)
    question = messages.append(s, conversation_id, "user", text, parent_id=row.leaf_id)
    row.draft = ""
    return _begin(s, question.conversation_id, question.id)


def ask_differently(s: Session, message_id: int, text: str) -> Begun:
    """Another version of a question, and its reply begun."""
    old = messages.row_of(s, message_id)
    if old.role != "user":
        raise ValueError(f"message {message_id} is no question")
    question = messages.append(s, old.conversation_id, "user", text, parent_id=old.parent_id)
    return _begin(s, question.conversation_id, question.id)


def answer_again(s: Session, message_id: int) -> Begun:
    """Another version of a reply begun; for a question, one more reply to it."""
    row = messages.row_of(s, message_id)
    return _begin(s, row.conversation_id, row.id if row.role == "user" else row.parent_id)


def go_on(s: Session, message_id: int) -> Begun:
    """A reply that did not end by itself streams again, from where it stands.

    Raises:
        UserError: it did end by itself, or something follows it
    """
    row = messages.row_of(s, message_id)
    if row.role != "assistant" or row.state in ("done", "streaming"):
        raise UserError("chat_nothing_to_continue")
    if messages.has_answers(s, message_id):
        raise UserError("chat_not_last")
    conversation = _ready(s, row.conversation_id)
    row.model = conversation.model
    row.error_code, row.error_params = "", None
    _own(row)
    conversations.row_of(s, row.conversation_id).leaf_id = message_id
    s.flush()
    path = messages.branch(s, row.conversation_id, message_id)
    return Begun(conversation, path[:-1], path[-1])


def start(s: Session, conversation_id: int, *, parent_id: int | None, model: str) -> Message:
    """An empty reply of this process, to be filled by `save` and ended by `finish`."""
    row = messages.add(s, conversation_id, "assistant", parent_id, model=model)
    _own(row)
    s.flush()
    return messages.get(s, row.id)


def save(s: Session, message_id: int, text: str, thinking: str) -> None:
    """What has come so far. Cheap: the text is indexed when it ends. A message deleted meanwhile is no error."""
    s.execute(update(MessageRow).where(MessageRow.id == message_id).values(text=text, thinking=thinking))


def finish(s: Session, message_id: int, text: str, thinking: str, end: End) -> None:
    """The reply is over. A message deleted meanwhile is no error."""
    if row := s.get(MessageRow, message_id):
        row.text, row.thinking = text, thinking
        _close(s, row, end)


def interrupt_orphans(s: Session) -> list[int]:
    """Mark what dead processes left streaming; what another living one streams stays. Ids of the marked ones."""
    streaming = s.scalars(select(MessageRow).where(MessageRow.state == "streaming")).all()
    orphans = [row for row in streaming if not owner.is_alive(row.owner_pid, row.owner_started)]
    for row in orphans:
        _close(s, row, End("interrupted", row.figures))
    return [row.id for row in orphans]


def _begin(s: Session, conversation_id: int, parent_id: int | None) -> Begun:
    conversation = _ready(s, conversation_id)
    path = messages.branch(s, conversation_id, parent_id) if parent_id is not None else []
    return Begun(conversation, path, start(s, conversation_id, parent_id=parent_id, model=conversation.model))


def _ready(s: Session, conversation_id: int) -> Conversation:
    conversation = conversations.get(s, conversation_id)
    if not conversation.model:
        raise UserError("chat_no_model")
    return conversation


def _own(row: MessageRow) -> None:
    row.state = "streaming"
    row.owner_pid, row.owner_started = owner.here()


def _close(s: Session, row: MessageRow, end: End) -> None:
    row.state, row.figures = end.state, end.figures
    row.error_code, row.error_params = end.error_code, end.error_params or None
    row.owner_pid = row.owner_started = None
    search.index_message(s, row.id, row.text)
