"""The bodies that come in, as OpenAI's clients send them; fields that are unknown here are ignored.

Invariant: what has passed holds whole characters and finite numbers only.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.serving.refusals import Refusal


class Body(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())


class Whole(Body):
    """A body as a whole."""

    @model_validator(mode="before")
    @classmethod
    def _need_whole(cls, body: Any) -> Any:
        """
        Raises:
            Refusal: api_half_character, api_nested.
        """
        try:
            json.dumps(body, ensure_ascii=False, default=lambda _: None).encode()
        except UnicodeEncodeError as error:
            raise Refusal("api_half_character", place="body") from error
        except (RecursionError, ValueError) as error:
            raise Refusal("api_nested", place="body") from error
        return body


class Part(Body):
    """Of a message that comes in parts; only text can be read."""

    type: str = "text"
    text: str | None = None


class Function(Body):
    """A call, with its arguments as JSON."""

    name: str = ""
    arguments: str | dict[str, Any] = ""


class Call(Body):
    id: str | None = None
    type: str = "function"
    function: Function


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None


class FunctionDefinition(Body):
    """name_for_model and its like are those of the first generation's own tools."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | list[Any] | None = None


class Tool(Body):
    type: Literal["function"] = "function"
    function: FunctionDefinition


class Named(Body):
    name: str


class ToolChoice(Body):
    type: Literal["function"] = "function"
    function: Named


class JsonSchema(Body):
    name: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(Body):
    include_usage: bool | None = None


Stop = str | Annotated[list[str], Field(max_length=16)]


class Choices(Whole):
    """What chat and completion have in common: how the next token is chosen and when it ends."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: Stop | None = None
    n: int | None = None
    logprobs: bool | int | None = None
    response_format: ResponseFormat | None = None


class ChatRequest(Choices):
    """enable_thinking, and the same within chat_template_kwargs: whether the model shall think before it answers."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionRequest(Choices):
    """The prompt is written on as it stands, by chat models too."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    echo: bool | None = None
    suffix: str | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _need_one(cls, prompt: Any) -> Any:
        """
        Raises:
            Refusal: api_one_prompt.
        """
        if isinstance(prompt, list) and not (len(prompt) == 1 and isinstance(prompt[0], str)):
            raise Refusal("api_one_prompt", "prompt")
        return prompt


class TokenizeRequest(Whole):
    """Either a text or a conversation, as it would be given to the model."""

    model: str = ""
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
