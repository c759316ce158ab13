"""The prompt of a conversation with tools, by a model's own chat template.

As core.chat.template does it for plain turns: the template sees characters in place of texts. Invariant: no text, of a
message, a call or a tool's description, can become a control token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.chat.stand_ins import StandIns, first_place, places
from core.chat.template import render_chat
from core.chat.thinking import THINK_OPEN
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt
from core.data.conversation import Example, Message
from core.data.template_messages import PLAIN_FIELDS, shape_of, texts_in, unsafe_text
from core.errors import UserError
from core.serving.requests import FunctionDefinition


def tool_prompt(
    vocabulary: Vocabulary,
    messages: Sequence[Message],
    tools: Sequence[FunctionDefinition],
    *,
    thinking: bool | None = None,
    begun: tuple[str, str] = ("", ""),
) -> Prompt:
    """begun: with what the reply begins, a call that has to be made: the mark of the template, and text.

    Raises:
        UserError: template_refused, template_broken, template_without_tools.
    """
    source = vocabulary.template
    if "tool_calls" not in source and any(message.calls for message in messages):
        raise UserError("template_without_tools")
    texts = StandIns(source)
    given = tuple({"type": "function", "function": tool.model_dump(exclude_none=True)} for tool in tools)
    shown, known = json.loads(shape_of(Example(tuple(messages), given), texts, unsafe_text(vocabulary)))
    rendered = render_chat(vocabulary, shown, asks=True, tools=known, thinking=thinking)
    is_thinking = rendered.rstrip().endswith(THINK_OPEN)
    if any(begun) and is_thinking:
        rendered, is_thinking = f"{rendered.rstrip()}\n\n</think>\n\n", False
    ids = _encode(vocabulary, rendered, texts, texts_in(one.get(field) for one in shown for field in PLAIN_FIELDS))
    return Prompt(ids + vocabulary.encode_control(begun[0]) + vocabulary.encode_text(begun[1]), is_thinking)


def _encode(vocabulary: Vocabulary, rendered: str, texts: StandIns, plain: str) -> list[int]:
    """plain: the characters of messages' texts; all others stand within JSON, where quotes are escaped."""
    ids: list[int] = []
    start = 0
    for at, number in places(rendered, first_place(vocabulary.template), len(texts.texts)):
        text = texts.texts[number]
        if rendered[at - 1 : at + 2] == f'"{rendered[at]}"' and rendered[at] not in plain:
            text = json.dumps(text, ensure_ascii=False)[1:-1]
        ids += vocabulary.encode_control(rendered[start:at]) + vocabulary.encode_text(text)
        start = at + 1
    return ids + vocabulary.encode_control(rendered[start:])
