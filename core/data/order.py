"""What is wrong with a conversation that can be read: who speaks when, what is empty, what looks like a control token.

Invariant: `place` is the 1-based place of the message the fault is about; each code is told once a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.data.conversation import Example, Message
from core.data.problems import Fault

_control = re.compile(r"<\|[a-z_]{2,40}\|>")


def order_faults(messages: Sequence[Message]) -> list[Fault]:
    """Of a non-empty conversation; a system message may only come first."""
    said = [(place, message) for place, message in enumerate(messages, 1) if message.role != "system"]
    found: list[Fault] = []
    if any(message.role == "system" and place > 1 for place, message in enumerate(messages, 1)):
        place = next(place for place, message in enumerate(messages, 1) if message.role == "system" and place > 1)
        found.append(Fault("system_out_of_place", {"place": place}))
    if not any(message.role == "assistant" for _, message in said):
        found.append(Fault("no_answer"))
        return found
    if said[0][1].role == "assistant":
        found.append(Fault("starts_with_assistant", {"place": said[0][0]}))
    if said[-1][1].role != "assistant":
        found.append(Fault("ends_with_question", {"place": said[-1][0]}))
    return found + _turns(said)


def _turns(said: list[tuple[int, Message]]) -> list[Fault]:
    codes: dict[str, Fault] = {}
    before = ""
    for place, message in said:
        if message.role == "tool":
            if before not in ("assistant", "tool"):
                codes.setdefault("tool_out_of_place", Fault("tool_out_of_place", {"place": place}))
        elif message.role == before:
            codes.setdefault("roles_repeat", Fault("roles_repeat", {"place": place, "role": message.role}))
        before = message.role
    return list(codes.values())


def text_faults(example: Example) -> list[Fault]:
    codes: dict[str, Fault] = {}
    for place, message in enumerate(example.messages, 1):
        is_answer = message.role == "assistant"
        if not message.text.strip():
            if is_answer and not message.calls:
                codes.setdefault("empty_answer", Fault("empty_answer", {"place": place}))
            elif message.role == "user":
                codes.setdefault("empty_question", Fault("empty_question", {"place": place}))
        elif is_answer and message.text != message.text.strip():
            codes.setdefault("blank_around_answer", Fault("blank_around_answer", {"place": place}))
        if "<|" in message.text and (mark := _control.search(message.text)):
            codes.setdefault("control_text", Fault("control_text", {"place": place, "text": mark[0]}))
    return list(codes.values())
