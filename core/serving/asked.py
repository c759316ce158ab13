"""A request -> what the engine is asked: the prompt, how tokens are chosen, how the reply is read.

Which way tools are told to the model is the model's own: its template where that knows tools, ReAct as text otherwise.
Invariant: nothing here looks at a token before the prompt is made, which happens in the thread that steps the jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from core.chat.chat_format import ChatFormat
from core.chat.template import ChatTemplate
from core.chat.turns import GREEDY, Sampling, Turn
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt
from core.data.conversation import Message
from core.serving import grammars, react
from core.serving.conversation import forced_name, messages_of, name_of, tools_of
from core.serving.react_calls import ReactCalls
from core.serving.refusals import Refusal
from core.serving.requests import ChatRequest, Choices, CompletionRequest, FunctionDefinition
from core.serving.tool_calls import OPEN, CallReader, NoCalls, TagCalls

ALMOST_GREEDY = 0.01  # below it the first generation's server took the likeliest token
LONGEST = 1 << 30  # as long as the context lets it


@dataclass(frozen=True, slots=True)
class Model:
    """What of a model a prompt depends on. tools: "hermes" and "xml" are its template's own, else by ReAct."""

    template: ChatFormat
    vocabulary: Vocabulary
    tools: str


@dataclass(frozen=True, slots=True)
class Asked:
    """
    make_prompt: Raises UserError
    reader: of calls of tools, for one reply
    grammar: of the reply, "" for none
    is_raw: the prompt is written on as it stands, whatever the model's format
    is_legacy: the call is told as `function_call`, of which there is one at most
    """

    sampling: Sampling
    make_prompt: Callable[[], Prompt]
    reader: CallReader = field(default_factory=NoCalls)
    grammar: str = ""
    is_raw: bool = False
    is_legacy: bool = False
    has_one_call: bool = False
    echo: str = ""


def chat(request: ChatRequest, model: Model) -> Asked:
    """
    Raises:
        Refusal: what is wrong with the request.
    """
    _need_supported(request)
    messages, tools = messages_of(request.messages), tools_of(request)
    grammar = grammars.of_format(request.response_format)
    if grammar and tools:
        raise Refusal("api_unsupported", "response_format", what="response_format + tools")
    sampling = _sampling(request, request.max_completion_tokens or request.max_tokens)
    thinking = False if grammar else _thinking(request)
    has_tools = bool(tools) or any(message.role == "tool" or message.calls for message in messages)
    is_legacy = not request.tools and request.functions is not None
    has_one_call = is_legacy or request.parallel_tool_calls is False
    if not has_tools:
        turns = [Turn(_role(message), message.text, message.thinking) for message in messages]
        return Asked(sampling, partial(_plain, model, turns, thinking), grammar=grammar)
    by_template = model.tools in ("hermes", "xml") and isinstance(model.template, ChatTemplate)
    if by_template:
        prompt, reader, of_call = _by_template(request, model, messages, tools, thinking)
    else:
        prompt, reader, of_call = _by_react(request, model, messages, tools)
    stops = sampling.stop if by_template else (*sampling.stop, react.STOP)
    return Asked(
        msgspec.structs.replace(sampling, stop=stops),
        prompt,
        reader,
        of_call or grammar,
        is_legacy=is_legacy,
        has_one_call=has_one_call,
    )


def completion(request: CompletionRequest, model: Model) -> Asked:
    """
    Raises:
        Refusal: what is wrong with the request.
    """
    _need_supported(request)
    if request.suffix:
        raise Refusal("api_unsupported", "suffix", what="suffix")
    text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]
    vocabulary = model.vocabulary

    def make_prompt() -> Prompt:
        ids = [*vocabulary.begin_ids, *vocabulary.encode_text(text)]
        return Prompt(ids or _any_beginning(vocabulary))

    return Asked(
        _sampling(request, request.max_tokens or 16),  # as OpenAI's: 16 where nothing is said
        make_prompt,
        grammar=grammars.of_format(request.response_format),
        is_raw=True,
        echo=text if request.echo else "",
    )


def _any_beginning(vocabulary: Vocabulary) -> list[int]:
    """A model needs one token at least to go on from."""
    return vocabulary.encode_text("\n")[:1] or [0]


def _role(message: Message) -> Any:
    return message.role


def _plain(model: Model, turns: Sequence[Turn], thinking: bool | None) -> Prompt:
    """A last message of the assistant is written on, as other servers do."""
    return model.template.prompt(turns, thinking=thinking, continues=turns[-1].role == "assistant")


def _by_template(
    request: ChatRequest,
    model: Model,
    messages: Sequence[Message],
    tools: Sequence[FunctionDefinition],
    thinking: bool | None,
) -> tuple[Callable[[], Prompt], CallReader, str]:
    from core.serving.tool_prompt import tool_prompt

    schemas, forced = _schemas(tools), _forced(request)
    begun, grammar = ("", ""), ""
    if forced is not None:
        thinking, chosen = False, {forced: schemas[forced]} if forced else schemas
        if model.tools == "xml":
            begun = (f"{OPEN}\n", f"<function={forced}>\n" if forced else "<function=")
            grammar = grammars.of_xml_call(chosen, is_named=bool(forced))
        else:
            begun, grammar = (f"{OPEN}\n", ""), grammars.of_call(chosen)
    make = partial(tool_prompt, model.vocabulary, messages, tools, thinking=thinking, begun=begun)
    return make, TagCalls(schemas, "".join(begun)), grammar


def _by_react(
    request: ChatRequest, model: Model, messages: Sequence[Message], tools: Sequence[FunctionDefinition]
) -> tuple[Callable[[], Prompt], CallReader, str]:
    forced = _forced(request)
    written = react.written(messages, tools, forced)
    schemas = _schemas(tools)
    grammar = ""
    if forced is not None:
        one = grammars.of_schema(grammars.arguments_schema(schemas[forced])) if forced else ""
        grammar = one or grammars.of_react_call(schemas)

    def make_prompt() -> Prompt:
        return model.template.prompt(written.turns, thinking=False, continues=written.continues)

    return make_prompt, ReactCalls(schemas.keys(), written.begun), grammar


def _forced(request: ChatRequest) -> str | None:
    """The function that has to be called, "" for any of them, None where none has to."""
    return "" if request.tool_choice == "required" else forced_name(request)


def _schemas(tools: Sequence[FunctionDefinition]) -> dict[str, Any]:
    return {name_of(tool): tool.parameters for tool in tools}


def _thinking(request: ChatRequest) -> bool | None:
    if request.enable_thinking is not None:
        return request.enable_thinking
    said = (request.chat_template_kwargs or {}).get("enable_thinking")
    return said if isinstance(said, bool) else None


def _need_supported(request: Choices) -> None:
    if request.n not in (None, 1):
        raise Refusal("api_unsupported", "n", what="n other than 1")
    if request.logprobs not in (None, False, 0):
        raise Refusal("api_unsupported", "logprobs", what="logprobs")


def _sampling(request: Choices, longest: int | None) -> Sampling:
    """What the request leaves open is as in a chat of this program."""
    is_greedy = request.temperature is not None and request.temperature < ALMOST_GREEDY
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    given = {
        "top_p": request.top_p,
        "top_k": None if request.top_k is None else max(request.top_k, 0),
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "temperature": None if is_greedy else request.temperature,
        "seed": request.seed,
    }
    return msgspec.structs.replace(
        GREEDY if is_greedy else Sampling(),
        **{name: value for name, value in given.items() if value is not None},
        max_new_tokens=min(longest or LONGEST, LONGEST),
        stop=tuple(stop for stop in stops if stop),
    )
