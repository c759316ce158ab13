"""The answer of a remote engine as it comes: bytes -> server-sent events -> the events of a reply.

Invariant: whatever a server sends, the pieces of text are in their order and the end is told once: Finished with
figures, or a UserError that says what was wrong. A line of more than MOST_BYTES is refused, not collected.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from app.services.remote.refusals import said_by
from core.chat.thinking import ThinkingParts
from core.chat.turns import FinishReason, ReplyFigures
from core.errors import UserError
from core.protocol.messages import Finished, TextDelta

MOST_BYTES = 8 * 1024 * 1024  # of a line, and of an answer that comes whole
DONE = "[DONE]"
LEAST_SPAN_S = 0.02  # an answer that comes at once tells nothing of the speed
LENGTH = ("length", "max_tokens", "model_length")
BROKEN = ("abort", "error", "cancelled")


async def events_of(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[str, None]:
    """The data of each server-sent event; comments and other fields are left out. Closed early, it closes `chunks`.

    Raises:
        UserError: remote_unreadable.
    """
    data: list[str] = []
    async with aclosing(_lines(chunks)) as lines:
        async for line in lines:
            if not line and data:
                yield "\n".join(data)
                data = []
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
                if sum(map(len, data)) > MOST_BYTES:
                    raise UserError("remote_unreadable", reason=f"> {MOST_BYTES} bytes")
    if data:  # some servers close without the last empty line
        yield "\n".join(data)


async def _lines(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    held = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            *whole, rest = chunk.split(b"\n")
            for part in whole:
                yield (bytes(held) + part).rstrip(b"\r")
                held.clear()
            held += rest
            if len(held) > MOST_BYTES:
                raise UserError("remote_unreadable", reason=f"> {MOST_BYTES} bytes")
    if held:
        yield bytes(held).rstrip(b"\r")


class ReplyReader:
    """
    Attributes:
        has_thought: some of what came was thinking
        is_done: the server has said that this was all
    """

    def __init__(self, job_id: str, begun_s: float, *, continues: bool = False, context_length: int = 0) -> None:
        """begun_s: when the job began, by time.monotonic()."""
        self.has_thought = self.is_done = False
        self._job_id, self._begun_s, self._context_length = job_id, begun_s, context_length
        self._parts = ThinkingParts(can_think=True, is_thinking=False, continues=continues)
        self._pieces = 0
        self._first_s = self._last_s = self._answer_s = 0.0
        self._usage: dict[str, Any] = {}
        self._reason = ""

    def take(self, data: str) -> list[TextDelta]:
        """One event of a stream.

        Raises:
            UserError: remote_failed for an error that is told in the stream, remote_unreadable.
        """
        if data.strip() == DONE:
            self.is_done = True
            return []
        return self.take_object(data, "delta")

    def take_object(self, data: str | bytes, key: str) -> list[TextDelta]:
        """key: "delta" of a stream, "message" of an answer that comes whole."""
        try:
            said = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UserError("remote_unreadable", reason=_shown(data)) from None
        if not isinstance(said, dict):
            raise UserError("remote_unreadable", reason=_shown(data))
        if said.get("error") or said.get("object") == "error":
            raise UserError("remote_failed", message=said_by(said))
        if isinstance(usage := said.get("usage"), dict):
            self._usage = usage
        choices = said.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        return self._choice(choice, key) if isinstance(choice, dict) else []

    def _choice(self, choice: dict[str, Any], key: str) -> list[TextDelta]:
        if isinstance(reason := choice.get("finish_reason"), str):
            self._reason = reason
        said = choice.get(key)
        if not isinstance(said, dict):
            return []
        thinking = _text(said.get("reasoning_content")) or _text(said.get("reasoning"))
        pieces = [(thinking, True)] if thinking else []
        pieces += list(self._parts.push(_text(said.get("content"))))
        return self._deltas(pieces)

    def _deltas(self, pieces: list[tuple[str, bool]]) -> list[TextDelta]:
        now = time.monotonic()
        for _, is_thinking in pieces:
            self._first_s, self._last_s = self._first_s or now, now
            self._pieces += 1
            self.has_thought = self.has_thought or is_thinking
            if not is_thinking:
                self._answer_s = self._answer_s or now
        return [TextDelta(self._job_id, text, is_thinking) for text, is_thinking in pieces]

    def rest(self) -> list[TextDelta]:
        """What was held back until the end was known."""
        return self._deltas(list(self._parts.finish()))

    def end(self) -> Finished:
        """
        Raises:
            UserError: remote_lost where the connection ended before the answer did, remote_filtered, remote_broken_off.
        """
        if not self._reason and not self.is_done:
            raise UserError("remote_lost")
        if self._reason == "content_filter":
            raise UserError("remote_filtered")
        if self._reason in BROKEN:
            raise UserError("remote_broken_off")
        return self.finished("length" if self._reason in LENGTH else "stop")

    def finished(self, reason: FinishReason) -> Finished:
        return Finished(self._job_id, reason, self.figures())

    def figures(self) -> ReplyFigures | None:
        """As the server counts, else by the pieces that came, which are about as many; None before any."""
        counted = _count(self._usage.get("completion_tokens"))
        tokens = counted or self._pieces
        if not tokens:
            return None
        span = self._last_s - self._first_s
        details = self._usage.get("prompt_tokens_details")
        thought_until = (self._answer_s or self._last_s) if self.has_thought else self._first_s
        return ReplyFigures(
            _count(self._usage.get("prompt_tokens")),
            tokens,
            max(0.0, self._first_s - self._begun_s) if self._first_s else 0.0,
            (tokens - 1) / span if span >= LEAST_SPAN_S else 0.0,
            _count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
            thinking_s=thought_until - self._first_s,
            context_length=self._context_length if counted else 0,
            is_about=not counted,
        )


def _text(value: object) -> str:
    """Of a field that may be missing, null or a list of parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _shown(data: str | bytes) -> str:
    words = data if isinstance(data, str) else data.decode("utf-8", "replace")
    return " ".join(words[:200].split())[:80] or "–"
