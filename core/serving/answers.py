"""The bodies that go out, as the description of the API has them. A test holds replies.py, which makes them, to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class CalledFunction(Answer):
    """arguments: as JSON."""

    name: str
    arguments: str


class ToolCall(Answer):
    id: str
    type: Literal["function"]
    function: CalledFunction


class Said(Answer):
    """reasoning_content: what the model thought before it answered."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None


class ChatChoice(Answer):
    index: Literal[0]
    message: Said
    logprobs: None
    finish_reason: FinishReason


class TextChoice(Answer):
    index: Literal[0]
    text: str
    logprobs: None
    finish_reason: FinishReason


class CachedTokens(Answer):
    cached_tokens: int


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ChatCompletion(Answer):
    """With `stream` the same comes as events of the object chat.completion.chunk, and ends with [DONE]."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextCompletion(Answer):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class ModelCard(Answer):
    """root: the model in memory; parent: the same where this is an adapter of it; max_model_len: of its context, in
    tokens"""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int


class ModelList(Answer):
    object: Literal["list"]
    data: list[ModelCard]


class Tokens(Answer):
    tokens: list[int]
    count: int
    max_model_len: int


class Health(Answer):
    status: Literal["ok", "no model"]
    running: int
    waiting: int


class Fault(Answer):
    message: str
    type: str
    param: str | None
    code: str


class Faults(Answer):
    error: Fault


def described(model: type[Answer]) -> dict[int | str, dict[str, Any]]:
    """For FastAPI: what a path answers with when all is well."""
    return {200: {"model": model}}
