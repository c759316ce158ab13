"""The answers of a run as a table: a row of its own for each prompt, below it what was answered at every checkpoint.

Invariant: the columns are the steps, rising, the model before the run first; what is new in an answer is found when it
is first painted, and once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt

from core import figures
from core.training.run_files import Answer
from core.translation import say

Index = QModelIndex | QPersistentModelIndex
Part = tuple[int, int]  # start and length
_WORD = re.compile(r"[一-鿿぀-ヿ]|\w+|[^\w\s]")  # Chinese has no spaces between words
LONGEST = 4000  # characters compared
SPARE = 0.7  # words and signs to a token, at the least
ENDS = tuple(".!?。！？…:：;；)）]】}”’\"'`»」』|>*~")  # a sentence, a list or code may end so


class WallRows(QAbstractTableModel):
    """
    Attributes:
        prompts, steps: rows and columns
        most: tokens of an answer, 0: not known
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[str] = []
        self.steps: list[int] = []
        self.most = 0
        self._texts: dict[tuple[int, str], str] = {}
        self._new: dict[tuple[int, int], list[Part]] = {}

    def show_answers(self, prompts: Sequence[str], answers: Sequence[Answer]) -> None:
        """Also to prompts that are in the recipe no more. What comes on top at the end leaves the rest as it is."""
        all_ = list(dict.fromkeys([*prompts, *(answer.prompt for answer in answers)]))
        steps = sorted({answer.step for answer in answers})
        texts = {(answer.step, answer.prompt): answer.text for answer in answers}
        count = len(self.steps)
        is_more = all_ == self.prompts and steps[:count] == self.steps and len(steps) > count and bool(count)
        if is_more and all(texts.get(key) == text for key, text in self._texts.items()):
            self.beginInsertColumns(QModelIndex(), count, len(steps) - 1)
            self.steps, self._texts = steps, texts
            self.endInsertColumns()
            return
        self.beginResetModel()
        self.prompts, self.steps, self._texts = all_, steps, texts
        self._new.clear()
        self.endResetModel()

    def text(self, prompt: int, column: int) -> str:
        return self._texts.get((self.steps[column], self.prompts[prompt]), "")

    def is_cut(self, prompt: int, column: int) -> bool:
        """Whether it ended for its length, as far as can be told: a long one that ends within a sentence."""
        text = self.text(prompt, column).rstrip()
        is_open = bool(text) and not text.endswith(ENDS)
        return is_open and 0 < self.most * SPARE <= len(_WORD.findall(text))

    def said(self, prompt: int, column: int) -> str:
        """With a sign where it would have gone on."""
        text = self.text(prompt, column)
        return f"{text.rstrip()}…" if self.is_cut(prompt, column) else text

    def new_parts(self, prompt: int, column: int) -> list[Part]:
        """What the answer before it did not say."""
        if column == 0:
            return []
        if (prompt, column) not in self._new:
            self._new[prompt, column] = new_parts(self.text(prompt, column - 1), self.text(prompt, column))
        return self._new[prompt, column]

    # --- as a model of Qt ----------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else 2 * len(self.prompts)

    def columnCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self.steps)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.ToolTipRole and index.row() % 2:
            return say("run_ui.read_whole") if self.text(index.row() // 2, index.column()) else None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            prompt = index.row() // 2
            return self.text(prompt, index.column()) if index.row() % 2 else self.prompts[prompt]
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            step = self.steps[section]
            return say("run_ui.at_step", step=figures.count(step)) if step else say("run_ui.before")
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None


def new_parts(before: str, after: str) -> list[Part]:
    """Of the words in `after`, those that were not at this place in `before`; neighbours as one part."""
    words = [(found.start(), found.end()) for found in _WORD.finditer(after[:LONGEST])]
    old = [found.group() for found in _WORD.finditer(before[:LONGEST])]
    matcher = SequenceMatcher(None, old, [after[start:end] for start, end in words], autojunk=False)
    parts: list[Part] = []
    for kind, _, _, begin, end in matcher.get_opcodes():
        if kind in ("insert", "replace") and end > begin:
            start = words[begin][0]
            parts.append((start, words[end - 1][1] - start))
    return parts
