"""The run in the making as a file and the command that does the same. Invariant: it is the very recipe that would be
started, no word more or less."""

from __future__ import annotations

import shlex
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Card, column, label, row
from app.ui.widgets.page import section
from core.training import recipe as recipes
from core.training.recipe import Recipe
from core.translation import say

HEIGHT = 260


class CommandPane(QWidget):
    """
    Signals:
        save_asked: the recipe as a file
    """

    save_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._file = Path("recipe.toml")
        self.line = label("", "caption", wrap=True)
        self.line.setFont(theme.font(Type.CODE, code=True))
        self.copy = Button(say("kit.copy"), "ghost", "copy", small=True)
        self.copy.setAccessibleName(say("finetune_ui.copy_command"))
        self.copy.clicked.connect(lambda: self._copy(self.line.text()))
        self.toml = QPlainTextEdit()
        self.toml.setReadOnly(True)
        self.toml.setProperty("bare", True)
        self.toml.setTabChangesFocus(True)
        self.toml.setAccessibleName(say("finetune_ui.recipe"))
        self.toml.setFont(theme.font(Type.CODE, code=True))
        self._fit()
        theme.state.changed.connect(self._fit)
        self.save = Button(say("finetune_ui.save_recipe"), "secondary", "file", small=True)
        self.save.clicked.connect(self.save_asked)
        copy_toml = Button(say("finetune_ui.copy_recipe"), "ghost", "copy", small=True)
        copy_toml.clicked.connect(lambda: self._copy(self.toml.toPlainText()))
        head = row(self.line, self.copy, gap=Space.M)
        head.setStretch(0, 1)
        means = label(say("finetune_ui.command_means"), "caption", "muted", wrap=True)
        body = column(means, Card(head, padding=Space.M, ground="sunken"),
                      Card(column(self.toml), padding=Space.S, ground="sunken"), row(None, copy_toml, self.save),
                      gap=Space.S)  # fmt: skip
        self.setLayout(column(section(say("finetune_ui.command"), "", body), gap=0))
        self._show_line()

    def _fit(self) -> None:
        """As tall as whole lines: none is cut through its letters."""
        line = self.toml.document().firstBlock().layout().boundingRect().height()
        around = self.toml.document().documentMargin() + 2 * self.toml.frameWidth()
        if line:
            self.toml.setFixedHeight(int(HEIGHT * theme.state.text_scale // line * line + around))

    def show_recipe(self, recipe: Recipe) -> None:
        text = recipes.text(recipe)
        if text != self.toml.toPlainText():
            self.toml.setPlainText(text)
            self._fit()

    def show_saved(self, file: Path) -> None:
        self._file = file
        self._show_line()

    def _show_line(self) -> None:
        self.line.setText(f"qwen-workbench finetune run {shlex.quote(str(self._file))}")

    def _copy(self, words: str) -> None:
        QGuiApplication.clipboard().setText(words)
