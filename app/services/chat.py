"""The verbs of chat: conversations, questions and replies. Plain Python; whoever shows them listens to the events.

Invariant: a conversation has at most one reply of this process under way, and every reply that begins ends with one
`reply_ended`, whatever happens to the worker. What is shown and what is stored are never two truths: `open` gives the
stored branch with what is still only in memory laid over it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from app.services.events import Event
from app.services.replies import Inference, PromptSeen, Reply, ReplyEnded, ReplyGrew, ReplyProgress
from core import store
from core.chat.turns import Sampling
from core.errors import UserError
from core.store.records import Conversation, ConversationSummary, Hit, Message
from core.store.store import Store

if TYPE_CHECKING:
    from core.store.conversations import Choices
    from core.store.replies import Begun
    from core.store.store import Session

__all__ = ["ChatService", "Inference", "Opened", "PromptSeen", "ReplyEnded", "ReplyGrew", "ReplyProgress"]

STOP_S = 2.0  # a worker that has not obeyed by then is not waited for


@dataclass(frozen=True, slots=True)
class Opened:
    """A conversation with the branch in view, root first."""

    conversation: Conversation
    messages: list[Message]


class ChatService:
    """
    Attributes:
        last_opened: the conversation opened last, None before that
        list_changed: the list of conversations is another one
        branch_changed: other messages are in view in the conversation of this id
        reply_grew, reply_progress, prompt_seen, reply_ended: what happens to a reply
    """

    def __init__(self, the_store: Store, inference: Inference) -> None:
        self.last_opened: int | None = None
        self.list_changed: Event[None] = Event()
        self.branch_changed: Event[int] = Event()
        self.reply_grew: Event[ReplyGrew] = Event()
        self.reply_progress: Event[ReplyProgress] = Event()
        self.prompt_seen: Event[PromptSeen] = Event()
        self.reply_ended: Event[ReplyEnded] = Event()
        self._store = the_store
        self._inference = inference
        self._replies: dict[int, Reply] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._beginning: set[int] = set()
        self._unsaved: dict[int, Message] = {}  # ended, but the store could not take it yet

    # --- the list ----------------------------------------------------------------

    async def conversations(self, query: str = "", limit: int = 500) -> list[ConversationSummary]:
        """Pinned first, then newest; with `query` those that hold all its words."""
        return await self._store.call(lambda s: store.conversations.recent(s, limit, query))

    def streaming(self) -> set[int]:
        """Ids of the conversations in which a reply is under way."""
        return set(self._replies)

    async def search(self, query: str, limit: int = 50) -> list[Hit]:
        """Titles, then messages, newest first."""
        return await self._store.call(lambda s: store.search.everything(s, query, limit))

    async def recover(self) -> int:
        """For the start of the window: deleted conversations go for good, what a killed program left streaming is
        marked. How many replies that were."""

        def work(s: Session) -> int:
            store.conversations.purge(s)
            return len(store.replies.interrupt_orphans(s))

        marked = await self._store.call(work)
        self.list_changed.emit(None)
        return marked

    # --- one conversation --------------------------------------------------------

    async def create(
        self,
        model: str = "",
        system_prompt: str = "",
        sampling: Sampling | None = None,
        *,
        preset: str = "",
        thinking: bool | None = None,
    ) -> Conversation:
        made = await self._store.call(
            lambda s: store.conversations.create(
                s,
                model=model,
                system_prompt=system_prompt,
                sampling=sampling or Sampling(),
                preset=preset,
                thinking=thinking,
            )
        )
        self.list_changed.emit(None)
        return made

    async def open(self, conversation_id: int, message_id: int = 0, *, latest: int = 0) -> Opened:
        """The branch in view; with `message_id` the one that holds this message, which is in view from then on. With
        `latest` only that many messages, the last ones: a page shows them while it fetches the rest."""

        def work(s: Session) -> Opened:
            if message_id and message_id not in {m.id for m in store.messages.branch(s, conversation_id)}:
                store.messages.show(s, message_id)
            messages = store.messages.branch(s, conversation_id, latest=latest)
            return Opened(store.conversations.get(s, conversation_id), messages)

        for message in list(self._unsaved.values()):
            await self._keep(message)
        opened = await self._store.call(work)
        self.last_opened = conversation_id
        return replace(opened, messages=[self._live(message) for message in opened.messages])

    async def rename(self, conversation_id: int, title: str) -> None:
        """ "" goes back to the first line of the first question."""
        await self._change_list(lambda s: store.conversations.rename(s, conversation_id, title))

    async def pin(self, conversation_id: int, pinned: bool) -> None:
        await self._change_list(lambda s: store.conversations.pin(s, conversation_id, pinned))

    async def toggle_pin(self, conversation_id: int) -> None:
        def work(s: Session) -> None:
            store.conversations.pin(s, conversation_id, not store.conversations.get(s, conversation_id).pinned)

        await self._change_list(work)

    async def delete(self, conversation_id: int) -> Conversation:
        """What was deleted, for the offer to undo it; a reply under way is stopped."""

        def work(s: Session) -> Conversation:
            gone = store.conversations.get(s, conversation_id)
            store.conversations.delete(s, conversation_id)
            return gone

        gone = await self._store.call(work)
        self.stop(conversation_id)
        if self.last_opened == conversation_id:
            self.last_opened = None
        self.list_changed.emit(None)
        return gone

    async def undo_delete(self, conversation_id: int) -> None:
        await self._change_list(lambda s: store.conversations.restore(s, conversation_id))

    async def configure(self, conversation_id: int, **choices: Unpack[Choices]) -> Conversation:
        """Model, system prompt, sampling, preset, thinking: only what is given changes, from the next reply on."""
        return await self._store.call(lambda s: store.conversations.configure(s, conversation_id, **choices))

    async def save_draft(self, conversation_id: int, text: str) -> None:
        await self._store.call(lambda s: store.conversations.save_draft(s, conversation_id, text))

    # --- questions and replies ---------------------------------------------------

    async def send(self, conversation_id: int, text: str) -> int:
        """Ask; the id of the reply, which streams from now on.

        Raises:
            UserError: no model is chosen, or a reply is under way; so do the next three
        """
        return await self._begin(conversation_id, lambda s: store.replies.ask(s, conversation_id, text))

    async def regenerate(self, message_id: int) -> int:
        """Another version of this reply; for a question, a reply to it. The id of the new reply."""
        owner = await self._conversation_of(message_id)
        return await self._begin(owner, lambda s: store.replies.answer_again(s, message_id))

    async def edit(self, message_id: int, text: str) -> int:
        """Another version of this question, and a reply to it; the old ones stay. The id of the new reply."""
        owner = await self._conversation_of(message_id)
        return await self._begin(owner, lambda s: store.replies.ask_differently(s, message_id, text))

    async def continue_reply(self, message_id: int) -> int:
        """Write on where this reply broke off. Raises UserError also when there is nothing to continue."""
        owner = await self._conversation_of(message_id)
        return await self._begin(owner, lambda s: store.replies.go_on(s, message_id))

    def stop(self, conversation_id: int) -> None:
        """The reply ends within a token, or after STOP_S without the worker's consent; none under way is no error."""
        reply = self._replies.get(conversation_id)
        if reply is not None and not reply.is_stopped:
            reply.is_stopped = True
            self._inference.cancel(reply.job.job_id)
            asyncio.get_running_loop().call_later(STOP_S, reply.give_up)

    async def switch(self, message_id: int, step: int) -> None:
        """Show the version before (-1) or after (+1) this one, down to where that branch was last written to."""
        shown = await self._store.call(lambda s: store.messages.switch(s, message_id, step))
        self.branch_changed.emit(shown.id)

    async def branch(self, message_id: int) -> Conversation:
        """A new conversation with a copy of everything down to this message."""
        made = await self._store.call(lambda s: store.messages.branch_off(s, message_id))
        self.list_changed.emit(None)
        return made

    # --- files -------------------------------------------------------------------

    async def export_markdown(self, conversation_id: int) -> str:
        return await self._store.call(lambda s: store.transfer.to_markdown(s, conversation_id))

    async def export_json(self, conversation_id: int) -> str:
        """The whole tree, for `import_json`."""
        return (await self._store.call(lambda s: store.transfer.to_json(s, conversation_id))).decode()

    async def save_file(self, file: Path, text: str) -> None:
        """Atomic: an older file of that name stays whole until the new one is. Raises UserError."""
        try:
            await asyncio.to_thread(_write, file, text)
        except OSError as error:
            raise UserError("file_not_written", file=str(file), reason=error.strerror or str(error)) from error

    async def import_file(self, file: Path) -> Conversation:
        """Raises UserError when it cannot be read or is not ours; nothing is imported then."""
        try:
            data = await asyncio.to_thread(file.read_bytes)
        except OSError as error:
            raise UserError("file_not_read", file=str(file), reason=error.strerror or str(error)) from error
        return await self.import_json(data)

    async def import_json(self, data: bytes) -> Conversation:
        made = await self._store.call(lambda s: store.transfer.from_json(s, data))
        self.list_changed.emit(None)
        return made

    async def close(self) -> None:
        """Replies under way are ended and saved; they can be continued after the next start."""
        for reply in self._replies.values():
            self._inference.cancel(reply.job.job_id)
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=STOP_S)
            for reply in self._replies.values():
                reply.give_up()
            await asyncio.wait(tasks)
        for message in list(self._unsaved.values()):
            await self._keep(message)

    # --- within ------------------------------------------------------------------

    async def _change_list(self, work: Callable[[Session], None]) -> None:
        await self._store.call(work)
        self.list_changed.emit(None)

    async def _conversation_of(self, message_id: int) -> int:
        return (await self._store.call(lambda s: store.messages.get(s, message_id))).conversation_id

    @contextmanager
    def _only_one(self, conversation_id: int) -> Iterator[None]:
        """Two clicks at once must not begin two replies: the second one meets the first on its way to the store."""
        if conversation_id in self._replies or conversation_id in self._beginning:
            raise UserError("chat_busy")
        self._beginning.add(conversation_id)
        try:
            yield
        finally:
            self._beginning.discard(conversation_id)

    async def _begin(self, conversation_id: int, work: Callable[[Session], Begun]) -> int:
        with self._only_one(conversation_id):
            begun = await self._store.call(work)
            reply = self._replies[conversation_id] = Reply(self._store, begun)
        streaming = self._run(reply, begun.conversation)
        self._tasks[conversation_id] = asyncio.get_running_loop().create_task(streaming, name="reply")
        self.branch_changed.emit(conversation_id)
        self.list_changed.emit(None)
        return begun.reply.id

    async def _run(self, reply: Reply, conversation: Conversation) -> None:
        message = replace(reply.now(), state="interrupted")
        try:
            events = self._inference.generate(conversation.model, reply.job)
            message = await reply.follow(events, self.reply_grew.emit, self.reply_progress.emit, self.prompt_seen.emit)
        except Exception as error:
            message = reply.broken(error)
            raise  # out of the task, to whoever reports bugs
        finally:
            await self._end(conversation.id, message)

    async def _end(self, conversation_id: int, message: Message) -> None:
        message = await self._keep(message)
        del self._replies[conversation_id], self._tasks[conversation_id]
        self.reply_ended.emit(ReplyEnded(conversation_id, message))
        self.list_changed.emit(None)

    async def _keep(self, message: Message) -> Message:
        """Store how a reply ended. Where that fails (disk full) it stays in memory, is shown with the reason, and is
        tried again when a conversation is opened and at the end."""

        def work(s: Session) -> None:
            end = store.replies.End(message.state, message.figures, message.error_code, message.error_params)
            store.replies.finish(s, message.id, message.text, message.thinking, end)

        try:
            await self._store.call(work)
        except UserError as error:
            self._unsaved[message.id] = message
            return replace(message, state="failed", error_code=error.code, error_params=error.params)
        self._unsaved.pop(message.id, None)
        return message

    def _live(self, message: Message) -> Message:
        """The message with what only memory knows of it."""
        if unsaved := self._unsaved.get(message.id):
            return unsaved
        reply = self._replies.get(message.conversation_id)
        return reply.now() if reply and reply.message_id == message.id else message


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
