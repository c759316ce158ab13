"""One reply while it streams: its events become text, and the text is saved as it grows.

Invariant: what has come is in the store at most SAVE_S and one save later; while a save is under way no other one
waits. A delta costs an append: saving and showing happen elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from core import store
from core.chat.turns import FinishReason, ReplyFigures, Turn
from core.errors import UserError
from core.protocol.messages import Failed, Finished, Generate, JobEvent, Progress, PromptRead, TextDelta
from core.store.records import Conversation, Message, MessageState
from core.store.store import Store

if TYPE_CHECKING:
    from core.store.replies import Begun

log = logging.getLogger("chat")

SAVE_S = 0.5


class Inference(Protocol):
    """Who answers: yields the Progress of loading the model too, and ends with one Finished or Failed."""

    def generate(self, model: str, job: Generate) -> AsyncGenerator[JobEvent, None]: ...

    def cancel(self, job_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ReplyGrew:
    """What came just now, to be appended; `tokens` counts it."""

    conversation_id: int
    message_id: int
    text: str
    thinking: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ReplyProgress:
    """How far the loading of the model is, before the reply begins."""

    conversation_id: int
    message_id: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class PromptSeen:
    """The model has read the prompt: how long it is, what was left out, how far its positions were stretched."""

    conversation_id: int
    message_id: int
    prompt: PromptRead


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The reply is over; `message` is whole, with its state, figures and error."""

    conversation_id: int
    message: Message


class Reply:
    """
    Attributes:
        message_id: the message that grows
        job: what to ask the model
        is_stopped: the user ended it
    """

    def __init__(self, the_store: Store, begun: Begun) -> None:
        self.message_id = begun.reply.id
        self.is_stopped = False
        self._store = the_store
        self._begun = begun.reply
        self._text = [begun.reply.text]
        self._thinking = [begun.reply.thinking]
        self._news = asyncio.Event()
        self._reading: asyncio.Task[Finished | Failed] | None = None
        self.job = _job(begun)

    async def follow(
        self,
        events: AsyncGenerator[JobEvent, None],
        grew: Callable[[ReplyGrew], None],
        progressed: Callable[[ReplyProgress], None],
        prompt_seen: Callable[[PromptSeen], None] = lambda seen: None,
    ) -> Message:
        """Read to the end and return the message as it is then; storing that is the caller's.

        Given up or cancelled, it ends too: what came is worth as much.
        """
        loop = asyncio.get_running_loop()
        self._reading = loop.create_task(self._read(events, grew, progressed, prompt_seen), name="read reply")
        saving = loop.create_task(self._keep_saving(), name="save reply")
        try:
            return self._ended(await self._reading)
        except UserError as error:
            return replace(self.now(), state="failed", error_code=error.code, error_params=error.params)
        except asyncio.CancelledError:
            return replace(self.now(), state="stopped" if self.is_stopped else "interrupted")
        finally:
            saving.cancel()
            await asyncio.wait([saving])

    def give_up(self) -> None:
        """Wait no longer for the end; a reply that has ended is not touched."""
        if self._reading is not None:
            self._reading.cancel()

    def now(self) -> Message:
        """The message with what has come so far."""
        return replace(self._begun, text=_joined(self._text), thinking=_joined(self._thinking))

    def broken(self, error: Exception) -> Message:
        """The message when a bug of ours ended it."""
        what = f"{type(error).__name__}: {error}"
        return replace(self.now(), state="failed", error_code="bug", error_params={"what": what})

    async def _read(
        self,
        events: AsyncGenerator[JobEvent, None],
        grew: Callable[[ReplyGrew], None],
        progressed: Callable[[ReplyProgress], None],
        prompt_seen: Callable[[PromptSeen], None],
    ) -> Finished | Failed:
        conversation_id, message_id = self._begun.conversation_id, self._begun.id
        async with aclosing(events):
            async for event in events:
                match event:
                    case TextDelta(_, text, is_thinking, tokens):
                        (self._thinking if is_thinking else self._text).append(text)
                        self._news.set()
                        shown = ("", text) if is_thinking else (text, "")
                        grew(ReplyGrew(conversation_id, message_id, *shown, tokens))
                    case Progress():
                        progressed(ReplyProgress(conversation_id, message_id, event))
                    case PromptRead():
                        prompt_seen(PromptSeen(conversation_id, message_id, event))
                    case Finished() | Failed():
                        return event
                    case _:
                        pass  # the state of the model is the inference service's to tell
        raise RuntimeError("a reply ended without Finished")

    def _ended(self, end: Finished | Failed) -> Message:
        message = self.now()
        if isinstance(end, Finished):
            figures = _together(self._begun.figures, end.figures)
            return replace(message, state=_state(end.reason, self.is_stopped), figures=figures)
        if end.code == "context_full":  # there was no room to go on; what there is stays
            return replace(message, state="full")
        log.log(logging.ERROR if end.kind == "bug" else logging.INFO, "reply failed: %s %s", end.code, end.detail)
        state: MessageState = "interrupted" if end.kind == "died" else "failed"
        return replace(message, state=state, error_code=end.code, error_params=end.params)

    async def _keep_saving(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(SAVE_S)
            self._news.clear()
            try:
                await self._save(self.now())
            except UserError as error:
                log.info("a reply could not be saved yet: %s", error.code)
                self._news.set()

    async def _save(self, message: Message) -> None:
        await self._store.call(lambda s: store.replies.save(s, message.id, message.text, message.thinking))


def turns_of(conversation: Conversation, path: Sequence[Message]) -> tuple[Turn, ...]:
    """What the model reads. A question that failed is left out with its empty reply, or one that was too long would
    fail every question after it. A reply without text is left out too, and the questions around it become one turn,
    since templates of many models refuse two of the same side in a row."""
    said: list[Message] = []
    for message in path:
        if message.text or message.thinking:
            said.append(message)
        elif message.state == "failed" and said and said[-1].role == "user":
            said.pop()
    turns = [Turn("system", conversation.system_prompt)] if conversation.system_prompt.strip() else []
    for message in said:
        if turns and turns[-1].role == message.role == "user":
            turns[-1] = Turn("user", f"{turns[-1].text}\n\n{message.text}")
        else:
            turns.append(Turn(message.role, message.text, message.thinking))
    return tuple(turns)


def _job(begun: Begun) -> Generate:
    conversation, path, reply = begun
    has_begun = bool(reply.text or reply.thinking)
    return Generate(
        uuid.uuid4().hex,
        turns_of(conversation, [*path, reply] if has_begun else path),
        conversation.sampling,
        conversation.thinking,
        continues=has_begun,
    )


def _joined(parts: list[str]) -> str:
    """All of it as one text, kept as one, so that joining stays cheap however long it gets."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0]


def _state(reason: FinishReason, is_stopped: bool) -> MessageState:
    match reason:
        case "stop":
            return "done"
        case "length":
            return "cut"
        case "context_full":
            return "full"
        case "cancelled" | "paused":
            return "stopped" if is_stopped else "interrupted"


def _together(before: ReplyFigures | None, now: ReplyFigures | None) -> ReplyFigures | None:
    """Of a reply written in two goes: the first prompt, all tokens, the speed of the last go."""
    if before is None or now is None:
        return now or before
    return ReplyFigures(
        prompt_tokens=before.prompt_tokens,
        new_tokens=before.new_tokens + now.new_tokens,
        first_token_s=before.first_token_s,
        tokens_per_s=now.tokens_per_s,
        reused_tokens=before.reused_tokens,
        thinking_s=before.thinking_s + now.thinking_s,
        context_length=now.context_length,
        is_about=before.is_about or now.is_about,
    )
