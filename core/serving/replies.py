"""The bodies and chunks that go out: one reply as it grows, told piece by piece or whole.

Invariant: the whole body is made of the same pieces as the stream, so both say the same.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from core.chat.turns import FinishReason, ReplyFigures
from core.serving.tool_calls import Called, CallReader, Found, Said

Kind = Literal["chat", "text"]
OBJECTS = {
    ("chat", True): "chat.completion.chunk",
    ("chat", False): "chat.completion",
    ("text", True): "text_completion",
    ("text", False): "text_completion",
}
DONE = b"data: [DONE]\n\n"

_encoder = msgspec.json.Encoder()

Delta = dict[str, Any]


class Telling:
    """One reply: what the engine tells of it -> deltas.

    Attributes:
        is_over: no more of the reply is wanted, for its one call has come
        finish_reason: in OpenAI's words, once the reply has ended
    """

    def __init__(self, reader: CallReader, *, is_legacy: bool = False, has_one_call: bool = False) -> None:
        self.is_over = False
        self.finish_reason = "stop"
        self._reader, self._is_legacy, self._has_one_call = reader, is_legacy, has_one_call
        self._calls = 0

    @property
    def malformed_calls(self) -> int:
        return self._reader.malformed

    def text(self, text: str, *, is_thinking: bool) -> list[Delta]:
        if is_thinking:
            return [{"reasoning_content": text}]
        return self._deltas(self._reader.push(text))

    def end(self, reason: FinishReason) -> list[Delta]:
        deltas = self._deltas(self._reader.finish())
        self.finish_reason = "length" if reason in ("length", "context_full") else "stop"
        if self._calls:
            self.finish_reason = "function_call" if self._is_legacy else "tool_calls"
        return deltas

    def _deltas(self, found: Iterable[Found]) -> list[Delta]:
        deltas: list[Delta] = []
        for one in found:
            if self.is_over:
                break
            match one:
                case Said(text):
                    deltas.append({"content": text})
                case Called(name, arguments):
                    deltas.append(self._call(name, arguments))
                    self._calls += 1
                    self.is_over = self._has_one_call
        return deltas

    def _call(self, name: str, arguments: str) -> Delta:
        function = {"name": name, "arguments": arguments}
        if self._is_legacy:
            return {"function_call": function}
        id = f"call_{uuid.uuid4().hex[:24]}"
        return {"tool_calls": [{"index": self._calls, "id": id, "type": "function", "function": function}]}


class Envelope:
    """What stands around every piece of one reply."""

    def __init__(self, kind: Kind, model: str, *, is_stream: bool, with_usage: bool = False) -> None:
        self.id = f"{'chatcmpl' if kind == 'chat' else 'cmpl'}-{uuid.uuid4().hex}"
        self._kind, self._with_usage = kind, with_usage and is_stream
        self._head = {
            "id": self.id,
            "object": OBJECTS[kind, is_stream],
            "created": int(time.time()),
            "model": model,
        }

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""}) if self._kind == "chat" else b""

    def chunks(self, deltas: Iterable[Delta]) -> bytes:
        """Those of one kind that follow each other are told at once."""
        return b"".join(map(self._chunk, joined(deltas)))

    def finish(self, reason: str, figures: ReplyFigures | None) -> bytes:
        data = self._chunk({}, reason)
        if self._with_usage:
            data += _event(self._head | {"choices": [], "usage": usage(figures)})
        return data + DONE

    def _chunk(self, delta: Delta, reason: str | None = None) -> bytes:
        if self._kind == "chat":
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        else:
            text = delta.get("content", delta.get("reasoning_content", ""))
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        body = self._head | {"choices": [choice]}
        return _event(body | {"usage": None} if self._with_usage else body)

    def whole(self, deltas: Iterable[Delta], reason: str, figures: ReplyFigures | None) -> dict[str, Any]:
        """The body of an answer that is no stream."""
        message = message_of(deltas)
        if self._kind == "chat":
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        else:
            choice = {"index": 0, "text": message["content"] or "", "logprobs": None, "finish_reason": reason}
        return self._head | {"choices": [choice], "usage": usage(figures)}


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """Texts of one kind that follow each other as one; calls stay apart."""
    made: list[Delta] = []
    for delta in deltas:
        (key, value), *_ = delta.items()
        if made and isinstance(value, str) and key in made[-1]:
            made[-1] = {key: made[-1][key] + value}
        else:
            made.append(delta)
    return made


def message_of(deltas: Iterable[Delta]) -> dict[str, Any]:
    content, thinking = "", ""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        content += delta.get("content", "")
        thinking += delta.get("reasoning_content", "")
        calls += [{k: v for k, v in call.items() if k != "index"} for call in delta.get("tool_calls", ())]
        if "function_call" in delta:
            message["function_call"] = delta["function_call"]
    has_call = bool(calls) or "function_call" in message
    message["content"] = content if content or not has_call else None
    if thinking:
        message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = calls
    return message


def usage(figures: ReplyFigures | None) -> dict[str, Any]:
    prompt, new = (figures.prompt_tokens, figures.new_tokens) if figures else (0, 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {"cached_tokens": figures.reused_tokens if figures else 0},
    }


def error_event(body: dict[str, Any]) -> bytes:
    """An error amid a stream."""
    return _event(body)


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + _encoder.encode(body) + b"\n\n"
