"""The rows of a run: its data file as tokens, cut and split as the recipe says.

Invariant: the same file, recipe and tokenizer give the same rows in the same order; a row that holds nothing to learn
is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.chat.chat_format import ChatFormat, chat_format
from core.chat.chatml import ChatMl
from core.chat.tiktoken_file import IM_END, IM_START
from core.chat.vocabulary import Vocabulary
from core.data.chatml_rendering import ChatMlRenderer
from core.data.dataset import Dataset, open_data
from core.data.rendering import Renderer, renderer_of
from core.data.shape import Columns, columns_of
from core.data.split import is_validation, question_key
from core.data.steps import result
from core.errors import UserError
from core.training.passes import Row
from core.training.recipe import Recipe

EVERY_ROWS = 500


@dataclass(frozen=True, slots=True)
class RunData:
    """
    kept_aside: rows for the validation loss; cut: rows that were longer than the recipe's length
    left_out: rows that cannot be learned from
    chat: how the trained model is asked; new_ids: marks of turns that the base model has never seen
    fingerprint: sha256 of the data file, and of the evaluation file where there is one
    """

    rows: list[Row]
    kept_aside: list[Row]
    cut: int
    left_out: int
    chat: ChatFormat
    new_ids: tuple[int, ...]
    fingerprint: str


Tell = Callable[[int, int], None]  # rows read, of so many


def read_data(recipe: Recipe, folder: Path, vocabulary: Vocabulary, tell: Tell = lambda done, total: None) -> RunData:
    """
    Raises:
        UserError: as open_data and renderer_of; training_columns_unknown, training_no_rows.
    """
    renderer = renderer_of(vocabulary, recipe.mask)
    reading = _Reading(renderer, recipe, tell)
    columns = columns_of(recipe.columns)
    fingerprint = reading.take(Path(recipe.data), columns, 0.0 if recipe.eval_data else recipe.validation_share)
    if recipe.eval_data:
        fingerprint += " " + reading.take(Path(recipe.eval_data), columns, 1.0, must_have=False)
    if not reading.rows:
        raise UserError("training_no_rows", file=Path(recipe.data).name, count=reading.left_out)
    chat, new_ids = _asked(folder, vocabulary, renderer)
    return RunData(reading.rows, reading.kept_aside, reading.cut, reading.left_out, chat, new_ids, fingerprint)


class _Reading:
    def __init__(self, renderer: Renderer, recipe: Recipe, tell: Tell) -> None:
        self._renderer, self._length, self._tell = renderer, recipe.length, tell
        self.rows: list[Row] = []
        self.kept_aside: list[Row] = []
        self.cut = self.left_out = 0

    def take(self, file: Path, columns: Columns, share: float, *, must_have: bool = True) -> str:
        """The rows of a file, of which `share` are kept aside; its fingerprint. must_have: as of open_data"""
        data = result(open_data(file, columns, must_have=must_have))
        try:
            data.need_columns()
            total = len(data.rows)
            for number in range(total):
                self._take(data, number, share)
                if number % EVERY_ROWS == 0:
                    self._tell(number, total)
            return data.rows.sha256
        finally:
            data.close()

    def _take(self, data: Dataset, number: int, share: float) -> None:
        example = data.read(number).example
        if example is None:
            self.left_out += 1
            return
        try:
            ids, learned = self._renderer.render(example)
        except UserError:
            self.left_out += 1
            return
        self.cut += len(ids) > self._length
        row = Row(ids[: self._length], learned[: self._length])
        if not row.targets:
            self.left_out += 1
        elif share and is_validation(question_key(example), share):
            self.kept_aside.append(row)
        else:
            self.rows.append(row)


def _asked(folder: Path, vocabulary: Vocabulary, renderer: Renderer) -> tuple[ChatFormat, tuple[int, ...]]:
    """How the trained model will be asked, and which marks are new to it."""
    chat = chat_format(folder, vocabulary)
    if chat.can_chat or not isinstance(renderer, ChatMlRenderer):
        return chat, ()
    marks = (vocabulary.id_of(IM_START), vocabulary.id_of(IM_END))
    return ChatMl(vocabulary), tuple(id for id in marks if id is not None)
