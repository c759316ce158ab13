"""The settings of a fine-tune as rows of a form: which there are, in which group, and how each is set.

Invariant: every key of a Recipe that is no choice of another step has exactly one row here; a value is checked when the
field is left, and what is wrong stands below it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit, QWidget

from app.ui import theme
from app.ui.tokens import Space
from app.ui.widgets.button import Button, Select
from app.ui.widgets.layout import Line, column, label, pane, row
from app.ui.widgets.toggle import Switch
from core.training import recipe as recipes
from core.training.recipe import RANGES, Recipe
from core.translation import say

Kind = Literal["whole", "real", "choice", "switch", "text", "lines", "words"]


class Field(NamedTuple):
    key: str
    kind: Kind
    choices: tuple[str, ...] = ()


def _choice(key: str, kind: object) -> Field:
    return Field(key, "choice", get_args(kind))


FEW = (Field("epochs", "real"), Field("learning_rate", "real"), Field("length", "whole"), Field("batch", "whole"))
GROUPS: dict[str, tuple[Field, ...]] = {
    "run": (Field("name", "text"), Field("seed", "whole"), Field("steps", "whole")),
    "data": (Field("validation_share", "real"), Field("eval_data", "text"), Field("packing", "switch")),
    "adapter": (
        Field("rank", "whole"), Field("alpha", "real"), Field("dropout", "real"), Field("rslora", "switch"),
        Field("dora", "switch"), Field("targets", "words"), _choice("new_tokens", recipes.NewTokens),
    ),
    "optimiser": (
        _choice("optimiser", recipes.Optimiser), _choice("schedule", recipes.Schedule), Field("warmup", "real"),
        Field("weight_decay", "real"), Field("beta1", "real"), Field("beta2", "real"), Field("clip", "real"),
    ),
    "precision": (
        _choice("precision", recipes.Precision), _choice("weights", recipes.BaseWeights),
        Field("device", "choice", ("auto", "cpu")),
    ),
    "memory": (
        _choice("checkpointing", recipes.Switch), Field("pass_tokens", "whole"), Field("compile", "switch"),
        Field("liger", "switch"), Field("threads", "whole"), Field("devices", "whole"),
        _choice("parallel", recipes.Parallel),
    ),
    "checks": (
        Field("evaluate_every", "whole"), Field("save_every", "whole"), Field("keep", "whole"),
        _choice("result", recipes.Result),
    ),
    "samples": (Field("prompts", "lines"), Field("answer_tokens", "whole")),
}  # fmt: skip
ELSEWHERE = ("model", "data", "columns", "mask", "method")  # steps of their own
ADAPTER_ONLY = tuple(field.key for field in GROUPS["adapter"] if field.key != "new_tokens")


def words_of(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class FieldRow(QWidget):
    """
    Signals:
        changed: key, value
        reclaimed: what overrules it shall do so no more
    """

    changed = Signal(str, object)
    reclaimed = Signal()

    def __init__(self, field: Field, *, last: bool = False) -> None:
        super().__init__()
        self.field = field
        self._is_showing = False
        name = say(f"finetune_ui.field_{field.key}")
        self._wrong = label("", "caption", "bad", wrap=True)
        self._wrong.hide()
        self._show: Callable[[Any], None] = lambda value: None
        self.control = self._make(name)
        title = label(name, "strong")
        title.setBuddy(self.control)
        meaning = label(say(f"finetune_ui.field_{field.key}_means"), "caption", "muted", wrap=True)
        words = self._words = column(title, meaning, self._wrong, gap=Space.XXS)
        self._overruled: QLabel | None = None
        is_tall = field.kind == "lines"
        line = column(words, self.control, gap=Space.S) if is_tall else row(words, self.control, gap=Space.XL)
        if not is_tall:
            line.setStretch(0, 1)
        line.setContentsMargins(Space.L, Space.M, Space.L, Space.M)
        self.setLayout(column(line, *([] if last else [Line()]), gap=0))

    def show_value(self, value: Any) -> None:
        """Without telling of a change."""
        self._is_showing = True
        self._show(value)
        self._is_showing = False

    def show_overruled(self, why: str) -> None:
        """Another setting decides: say which, and give a way back; "" where none does."""
        self.control.setEnabled(not why)
        if self._overruled is None and why:
            self._overruled = label("", "caption", "warn", wrap=True)
            reclaim = Button(say(f"finetune_ui.reclaim_{self.field.key}"), "secondary", small=True)
            reclaim.clicked.connect(self.reclaimed)
            self._overruled_part = pane(column(self._overruled, row(reclaim, None), gap=Space.XS))
            self._words.addWidget(self._overruled_part)
        if self._overruled is not None:
            self._overruled.setText(why)
            self._overruled_part.setVisible(bool(why))

    def _make(self, name: str) -> QWidget:
        field = self.field
        if field.kind == "switch":
            switch = Switch(name)
            switch.toggled.connect(self._tell)
            self._show = switch.setChecked
            return switch
        if field.kind == "choice":
            words = {value: say(f"finetune_ui.{field.key}_{value}") for value in field.choices}
            select = Select(name, list(words.values()))
            select.chosen.connect(lambda said: self._tell(next(v for v, w in words.items() if w == said)))
            self._show = lambda value: select.show_value(words[value])
            return select
        if field.kind == "lines":
            return self._make_lines(name)
        return self._make_line(name)

    def _make_lines(self, name: str) -> QWidget:
        box = QPlainTextEdit()
        box.setProperty("field", True)
        box.setAccessibleName(name)
        box.setTabChangesFocus(True)
        box.setFixedHeight(round(84 * theme.state.text_scale))
        box.textChanged.connect(lambda: self._tell(tuple(filter(None, map(str.strip, box.toPlainText().split("\n"))))))

        def show(value: tuple[str, ...]) -> None:
            if tuple(filter(None, map(str.strip, box.toPlainText().split("\n")))) != value:
                box.setPlainText("\n".join(value))

        self._show = show
        return box

    def _make_line(self, name: str) -> QWidget:
        edit = QLineEdit()
        edit.setAccessibleName(name)
        wide = 220 if self.field.kind in ("text", "words") else 104
        edit.setFixedWidth(round(wide * theme.state.text_scale))
        edit.setFont(theme.font(tabular=True))
        edit.editingFinished.connect(lambda: self._read(edit.text()))

        def show(value: Any) -> None:
            if words_of(value) != edit.text() and not (edit.hasFocus() and self._wrong.isVisible()):
                edit.setText(words_of(value))
                self._mark(edit, "")

        self._show = show
        return edit

    def _read(self, typed: str) -> None:
        """Take it where it is a value that may be."""
        edit, key = self.control, self.field.key
        assert isinstance(edit, QLineEdit)
        if self.field.kind in ("text", "words"):
            names = tuple(filter(None, (part.strip() for part in typed.replace("，", ",").split(","))))
            self._tell(names if self.field.kind == "words" else typed.strip())
            return
        least, most = RANGES[key]
        try:
            value = float(typed) if self.field.kind == "real" else int(typed.replace(",", ""))
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            self._mark(edit, say("finetune_ui.field_range", least=f"{least:g}", most=f"{most:g}"))
            return
        self._mark(edit, "")
        self._tell(value)

    def _mark(self, edit: QLineEdit, wrong: str) -> None:
        self._wrong.setText(wrong)
        self._wrong.setVisible(bool(wrong))
        edit.setProperty("invalid", bool(wrong))
        edit.style().unpolish(edit)
        edit.style().polish(edit)

    def _tell(self, value: object) -> None:
        if not self._is_showing:
            self.changed.emit(self.field.key, value)


def is_meant(field: Field, recipe: Recipe) -> bool:
    """Whether it changes anything for the chosen method."""
    if field.key in ADAPTER_ONLY:
        return recipe.method != "full"
    return field.key != "weights" or recipe.method == "qlora"
