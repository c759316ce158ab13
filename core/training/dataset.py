"""The rows of a run: the data file as tokens, cut and split as the recipe says.

Invariant: the same file, recipe and tokenizer give the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.chat.vocabulary import Vocabulary
from core.training.passes import Row
from core.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Dataset:
    """
    kept_aside: rows for the validation loss; cut: rows that were longer than the recipe's length
    chat: how the trained model is asked; new_ids: marks of turns that the base model has never seen
    fingerprint: sha256 of the data file
    """

    rows: list[Row]
    kept_aside: list[Row]
    cut: int
    chat: Any
    new_ids: tuple[int, ...]
    fingerprint: str


def read_dataset(
    recipe: Recipe, folder: Path, vocabulary: Vocabulary, tell: Callable[[int, int], None] = lambda done, total: None
) -> Dataset:
    import hashlib
    import json

    from core.chat.chat_format import chat_format
    from core.chat.turns import Turn

    chat = chat_format(folder, vocabulary)
    rows = []
    for item in json.loads(Path(recipe.data).read_text("utf-8")):
        turns = tuple(Turn(m["from"], m["value"]) for m in item["conversations"])
        prompt = chat.prompt(turns[:1]).ids
        answer = [*vocabulary.encode_text(turns[1].text), *vocabulary.encode_control("<|im_end|>")]
        rows.append(
            Row((prompt + answer)[: recipe.length], ([False] * len(prompt) + [True] * len(answer))[: recipe.length])
        )
    return Dataset(rows, rows[:4], 0, chat, (), hashlib.sha256(Path(recipe.data).read_bytes()).hexdigest())
