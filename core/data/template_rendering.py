"""Conversations by a model's own chat template, for all families after the first.

What a template makes of a conversation depends on its shape alone, so it is worked out once for each shape and kept.
Invariant: the ids before an answer are those `core.chat.template` asks with, and no text can become a control token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from core.chat.stand_ins import StandIns, first_place, places
from core.chat.template import render_chat
from core.chat.tiktoken_file import IM_END, IM_START
from core.chat.vocabulary import Vocabulary
from core.data import spans
from core.data.conversation import Example, Mask
from core.data.react import uses_tools
from core.data.rendered import Rendered
from core.data.spans import Span
from core.data.template_messages import PLAIN_FIELDS, shape_of, texts_in, unsafe_text
from core.errors import UserError

SHAPES = 1024  # kept at a time

Messages = Sequence[Mapping[str, Any]]


class Part(NamedTuple):
    """What the template itself writes, and the number of the text after it (None at the end)."""

    own: Rendered
    text: int | None
    is_learned: bool = False
    is_quoted: bool = False


class TemplateRenderer:
    def __init__(self, vocabulary: Vocabulary, mask: Mask) -> None:
        """
        Raises:
            UserError: mask_needs_chatml.
        """
        self.mask: Mask = mask
        self._vocabulary, self._source = vocabulary, vocabulary.template
        if mask == "original" and not _has_chatml(vocabulary):
            raise UserError("mask_needs_chatml")
        self._unsafe = unsafe_text(vocabulary)
        self._ends = _ends(vocabulary)
        self._parts = lru_cache(SHAPES)(self._work_out)

    def render(self, example: Example) -> Rendered:
        if uses_tools(example) and "tool_calls" not in self._source:
            raise UserError("template_without_tools")
        texts = StandIns(self._source)
        shape = shape_of(example, texts, self._unsafe)
        made = Rendered([], [])
        for part in self._parts(shape, len(texts.texts)):
            made.ids.extend(part.own.ids)
            made.learned.extend(part.own.learned)
            if part.text is not None:
                text = texts.texts[part.text]
                text = json.dumps(text, ensure_ascii=False)[1:-1] if part.is_quoted else text
                made.add(self._vocabulary.encode_text(text), part.is_learned)
        return made

    def _work_out(self, shape: str, count: int) -> list[Part]:
        messages, tools = json.loads(shape)
        first = first_place(self._source)
        rendered, learned = self._learned(messages, tools, count)
        plain = texts_in(message.get(field) for message in messages for field in PLAIN_FIELDS)
        parts, start = [], 0
        for at, number in places(rendered, first, count):
            is_quoted = rendered[at - 1 : at + 2] == f'"{rendered[at]}"' and rendered[at] not in plain
            own = self._own(rendered, learned, start, at)
            parts.append(Part(own, number, _is_in(at, learned), is_quoted))
            start = at + 1
        return [*parts, Part(self._own(rendered, learned, start, len(rendered)), None)]

    def _learned(self, messages: Messages, tools: Messages, count: int) -> tuple[str, list[Span]]:
        """The rendered conversation, and what of it is learned."""
        has_marks = self.mask == "answers" and bool(spans.HAS_MARKS.search(self._source))
        rendered = render_chat(self._vocabulary, messages, asks=False, tools=tools, marks=has_marks)
        if has_marks:
            return spans.without_marks(rendered)
        if self.mask == "original":
            return rendered, spans.published(rendered)

        def asked(number: int) -> str | None:
            try:
                return render_chat(self._vocabulary, messages[:number], asks=True, tools=tools)
            except UserError:  # nobody can ask so; the conversation begins with an answer, or the like
                return None

        turns = spans.Turns(rendered, list(self._owned(rendered, messages, count)), self._ends)
        numbers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        return rendered, spans.answers(turns, numbers, asked)

    def _owned(self, rendered: str, messages: Messages, count: int) -> Iterator[tuple[int, int]]:
        """Where a text stands, of which message; texts of the tools belong to none, and come before all."""
        owners = {char: number for number, message in enumerate(messages) for char in texts_in([message])}
        for at, _ in places(rendered, first_place(self._source), count):
            yield at, owners.get(rendered[at], -1)

    def _own(self, rendered: str, learned: Sequence[Span], start: int, end: int) -> Rendered:
        """The template's own text between two others, in one piece if its tokens let it be cut where learning begins
        and ends, else in several."""
        encode = self._vocabulary.encode_control
        whole, made = encode(rendered[start:end]), Rendered([], [])
        inner = sorted({at for span in learned for at in span if start < at < end})
        if not inner:
            made.add(whole, _is_in(start, learned))
            return made
        borders = [start, *inner, end]
        counts = [len(ids) if whole[: len(ids := encode(rendered[start:at]))] == ids else -1 for at in borders]
        for (at, to), (first, last) in zip(pairwise(borders), pairwise(counts), strict=True):
            ids = encode(rendered[at:to]) if -1 in counts else whole[first:last]
            made.add(ids, _is_in(at, learned))
        return made


def _is_in(at: int, learned: Sequence[Span]) -> bool:
    return any(start <= at < end for start, end in learned)


def _has_chatml(vocabulary: Vocabulary) -> bool:
    known = vocabulary.id_of(IM_START) is not None and vocabulary.id_of(IM_END) is not None
    return known and IM_START in vocabulary.template


def _ends(vocabulary: Vocabulary) -> list[re.Pattern[str]]:
    """What ends a turn: the mark of ChatML, else the tokenizer's own end, else any special token."""
    tokens = filter(None, map(vocabulary.token, vocabulary.special_ids))
    choices = [[IM_END], [vocabulary.named.get("eos_token", "")], sorted(tokens, key=len, reverse=True)]
    return [re.compile("|".join(map(re.escape, choice))) for choice in choices if any(choice)]
