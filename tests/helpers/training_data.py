"""Files of training data in every format, all saying the same, and a renderer that needs no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.data.check import check
from core.data.conversation import Example, Mask
from core.data.dataset import open_data
from core.data.rendered import Rendered
from core.data.report import DataReport
from core.data.steps import result

PAIRS = [("What is a pear?", "A fruit."), ("你好", "你好！有什么可以帮您？"), ("Say it,\nplease", 'He said "no".')]
QWEN = [
    {"id": f"row{n}", "conversations": [{"from": "user", "value": q}, {"from": "assistant", "value": a}]}
    for n, (q, a) in enumerate(PAIRS)
]
SHAREGPT = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in PAIRS]
MESSAGES = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in PAIRS]
ALPACA = [{"instruction": q, "input": "", "output": a} for q, a in PAIRS]
FORMATS: dict[str, list[dict[str, Any]]] = {
    "qwen": QWEN, "sharegpt": SHAREGPT, "messages": MESSAGES, "alpaca": ALPACA,
}  # fmt: skip


def as_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def chat(*said: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def report_of(path: Path, **more: Any) -> DataReport:
    data = result(open_data(path))
    try:
        return result(check(data, **more))
    finally:
        data.close()


class LetterRenderer:
    """A token a letter, and the answers are learned."""

    def __init__(self, mask: Mask = "answers") -> None:
        self.mask: Mask = mask

    def render(self, example: Example) -> Rendered:
        ids, learned = list[int](), list[bool]()
        for message in example.messages:
            ids += [ord(letter) for letter in message.text]
            learned += [message.role == "assistant"] * len(message.text)
        return Rendered(ids, learned)
