"""Turns -> token ids by a model's own chat template, for all families after the first.

The template is rendered with one character in place of every text that people or models wrote (stand_ins.py); then its
own parts are encoded with control tokens, and each text apart without. Invariant: no text can become a control token,
whatever the text and the template are, and no text is altered by the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.chat.jinja import render
from core.chat.stand_ins import StandIns, message_of
from core.chat.thinking import THINK_CLOSE, THINK_OPEN
from core.chat.tiktoken_file import IM_END
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt, fitting
from core.errors import UserError


class ChatTemplate:
    """The format of a model that brings its own template."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._source = vocabulary.template

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def can_chat(self) -> bool:
        return bool(self._source)

    @property
    def can_think(self) -> bool:
        """The model marks its thinking: its template or its vocabulary knows the tag."""
        return THINK_CLOSE in self._source or self._vocabulary.id_of(THINK_CLOSE) is not None

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokenizer's own end: in some models only that one ends a chat turn, in others only the config's. And the
        end of a turn in the template: the configs of base models that were taught to chat do not know it."""
        ends = [self._vocabulary.named.get("eos_token", ""), *([IM_END] if IM_END in self._source else [])]
        return frozenset(id for end in ends if (id := self._vocabulary.id_of(end)) is not None)

    def prompt(self, turns: Sequence[Turn], *, thinking: bool | None = None, continues: bool = False) -> Prompt:
        """The ids that ask for the next reply, or for more of the last turn when it `continues`.

        Raises:
            UserError: model_cannot_chat, template_refused, template_broken.
        """
        if not self.can_chat:
            raise UserError("model_cannot_chat")
        begun = turns[-1] if continues else None
        texts = StandIns(self._source)
        rendered = self._render(turns[:-1] if begun else turns, texts, thinking)
        is_thinking = rendered.rstrip().endswith(THINK_OPEN)
        if begun is not None:
            rendered, is_thinking = _begin(rendered, begun, texts, is_thinking)
        return Prompt(self._encode(rendered, texts), is_thinking)

    def fitting_prompt(
        self, turns: Sequence[Turn], limit: int, *, thinking: bool | None = None, continues: bool = False
    ) -> Prompt:
        """The prompt of at most `limit` tokens: the oldest questions go, each with its answer, the system turn stays.

        Raises:
            UserError: message_too_long when even the last question does not fit; else as `prompt`.
        """
        return fitting(
            turns,
            limit,
            2 if continues else 1,
            lambda choice: self.prompt(choice, thinking=thinking, continues=continues),
        )

    def _render(self, turns: Sequence[Turn], texts: StandIns, thinking: bool | None) -> str:
        messages = [message_of(turn.role, turn.text, turn.thinking, texts) for turn in turns]
        return render_chat(self._vocabulary, messages, asks=True, thinking=thinking)

    def _encode(self, rendered: str, texts: StandIns) -> list[int]:
        ids: list[int] = []
        for part, text in texts.split(rendered):
            ids += self._vocabulary.encode_control(part)
            ids += self._vocabulary.encode_text(text)
        return ids


def render_chat(
    vocabulary: Vocabulary,
    messages: Sequence[Mapping[str, Any]],
    *,
    asks: bool,
    tools: Sequence[Mapping[str, Any]] = (),
    thinking: bool | None = None,
    marks: bool = False,
) -> str:
    """What the vocabulary's template makes of messages. asks: for the next reply, at its end; marks: see `render`.

    Raises:
        UserError: template_refused, template_broken.
    """
    variables: dict[str, Any] = {
        **vocabulary.named,
        "messages": messages,
        "add_generation_prompt": asks,
        "tools": list(tools) or None,
        "documents": None,
    }
    if thinking is not None:
        variables["enable_thinking"] = thinking
    return render(vocabulary.template, variables, marks=marks)


def _begin(rendered: str, begun: Turn, texts: StandIns, is_thinking: bool) -> tuple[str, bool]:
    """The asking prompt, followed by the reply as the model has written it so far."""
    if begun.thinking:
        rendered += ("" if is_thinking else THINK_OPEN + "\n") + texts.stand_in(begun.thinking)
        is_thinking = True
    if not begun.text:
        return rendered, is_thinking
    if is_thinking:
        rendered += f"\n{THINK_CLOSE}\n\n"
    return rendered + texts.stand_in(begun.text), False
