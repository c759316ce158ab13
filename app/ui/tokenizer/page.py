"""The tokenizer page: a text above, its tokens below, live while it is typed.

Invariant: only the tokenizer of a model is loaded, never its weights; a result for a text that has changed meanwhile is
not shown, and what the user typed is never changed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit, QSplitter, QStackedWidget, QWidget

from app.ui import aio, shortcuts, theme
from app.ui.tokenizer.facts import TokenFacts
from app.ui.tokenizer.token_view import TokenView
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Button, IconButton, Select
from app.ui.widgets.feedback import Banner, EmptyState
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from app.ui.widgets.page import headed, page_header
from app.ui.widgets.toggle import Switch
from core import figures
from core.errors import UserError
from core.protocol.messages import Tokenized
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

SETTLE_MS, LONG_SETTLE_MS = 120, 300
LONG = 20_000  # characters
MOST = 400_000  # characters that are looked at


class TokenizerPage(QWidget):
    """
    Attributes:
        found: what stands below the text; None before the first answer
        asked_for: characters of the text that `found` belongs to
    """

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.found: Tokenized | None = None
        self.asked_for = -1
        self._window, self._context = window, context
        self._model = context.preferences.settings.last_model
        self._asking: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._wait = QTimer(self, singleShot=True)
        self._wait.timeout.connect(self._ask)
        self.select = Select(say("tokenizer.model"), ["–"])
        self.select.chosen.connect(self._take_model)
        self.copy = Button(say("tokenizer.copy"), "secondary", "copy")
        self.copy.clicked.connect(self.copy_ids)
        self.copy.setEnabled(False)
        self.copy.setToolTip(shortcuts.keys("tokenizer", "copy_ids"))
        self._toggle = IconButton("panel", say("tokenizer.counts"))
        self._toggle.setCheckable(True)
        self._toggle.toggled.connect(lambda _: self._show_facts())
        self.facts = TokenFacts()
        self.facts.explain_asked.connect(window.explain)
        self._line = Line(vertical=True)
        middle = row(self._main(), self._line, self.facts, gap=0)
        middle.setStretch(0, 1)
        header = page_header(say("window.tokenizer"), self.select, None, self.copy, self._toggle)
        self.setLayout(headed(header, pane(middle)))
        self.setFocusProxy(self.text)
        shortcuts.bind(self, "tokenizer", "copy_ids", self.copy_ids)
        shortcuts.bind(self, "tokenizer", "control", self.unsafe.click)
        self._end = context.library.changed.listen(lambda _: self._refresh())
        self._refresh()

    # --- layout ----------------------------------------------------------------------

    def _main(self) -> QWidget:
        self.text = QPlainTextEdit()
        self.text.setProperty("field", True)
        self.text.setAccessibleName(say("tokenizer.text"))
        self.text.setPlaceholderText(say("tokenizer.hint"))
        self.text.setTabChangesFocus(True)
        self.text.setFont(theme.font(Type.PROSE, literal=True))
        self.text.setMinimumHeight(90)
        kept = self._context.tokenizer_text
        self.text.setPlainText(say("tokenizer.sample") if kept is None else kept)
        self.text.textChanged.connect(self._on_text)
        self.unsafe = Switch(say("tokenizer.unsafe"))
        self.unsafe.toggled.connect(self._on_switch)
        self._meaning = label(say("tokenizer.safe_means"), "caption", "muted", wrap=True)
        name = label(say("tokenizer.unsafe"), "strong")
        switch = row(self.unsafe, column(name, self._meaning, gap=Space.XXS), gap=Space.M)
        switch.setStretch(1, 1)
        switch.setAlignment(self.unsafe, Qt.AlignmentFlag.AlignTop)
        self.view = TokenView()
        self.view.chosen.connect(self._show_token)
        self._notice = column(gap=0)
        self._cut = label("", "caption", "warn", wrap=True)
        self._cut.hide()
        below = column(pane(switch), self._notice, self._cut, Card(column(self.view), padding=Space.XS), gap=Space.M)
        below.setStretch(3, 1)
        below.setContentsMargins(0, Space.M, 0, 0)
        self._split = QSplitter(Qt.Orientation.Vertical)
        self._split.setChildrenCollapsible(False)
        self._split.addWidget(self.text)
        self._split.addWidget(pane(below))
        self._split.setSizes([180, 420])
        self._split.setStretchFactor(1, 1)
        whole = column(self._split)
        whole.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        models = Button(say("chat.see_models"), "primary", "models")
        models.clicked.connect(lambda: self._window.go("models"))
        self.empty = EmptyState("layers", say("tokenizer.empty_title"), say("tokenizer.empty_body"), models)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.empty)
        self._stack.addWidget(pane(whole))
        return self._stack

    def adapt(self, wide: bool) -> None:
        self._toggle.setChecked(wide)
        self._show_facts()

    def leave(self) -> None:
        self._context.tokenizer_text = self.text.toPlainText()
        self._end()
        self._wait.stop()
        for task in (self._reading, self._asking):
            if task is not None:
                task.cancel()

    def _show_facts(self) -> None:
        self.facts.setVisible(self._toggle.isChecked())
        self._line.setVisible(self._toggle.isChecked())

    # --- the model ---------------------------------------------------------------------

    def _refresh(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = aio.spawn(self._read_models(), "models")

    async def _read_models(self) -> None:
        models = [model.manifest for model in await self._context.library.installed()]
        names = [facts.name for facts in models if not facts.base]
        self._stack.setCurrentIndex(1 if names else 0)
        if not names:
            self._show_nothing()
            return
        base = next((facts.base for facts in models if facts.name == self._model and facts.base), self._model)
        self._model = base if base in names else names[0]
        self.select.set_values(names, self._model)
        self._ask()

    def _take_model(self, name: str) -> None:
        self._model = name
        self._ask()

    # --- tokens ------------------------------------------------------------------------

    def _on_text(self) -> None:
        self._wait.start(LONG_SETTLE_MS if self.text.document().characterCount() > LONG else SETTLE_MS)

    def _on_switch(self, unsafe: bool) -> None:
        self._meaning.setText(say("tokenizer.unsafe_means" if unsafe else "tokenizer.safe_means"))
        self._ask()

    def _ask(self) -> None:
        """The tokens of what stands there now; an older question is given up."""
        self._wait.stop()
        if self._asking is not None:
            self._asking.cancel()
        self._asking = aio.spawn(self._read(), "tokenize")

    async def _read(self) -> None:
        # Qt's text can hold half a character, which nothing outside can be told.
        text = self.text.toPlainText().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        is_cut = len(text) > MOST
        text = text[:MOST]
        service, unsafe = self._context.inference, self.unsafe.isChecked()
        try:
            found = await service.read_tokens(self._model, text, unsafe_special=unsafe)
        except UserError as error:
            self._fail(error)
            return
        self._clear_notice()
        self._cut.setText(say("tokenizer.cut", count=figures.count(MOST)))
        self._cut.setVisible(is_cut)
        self.found, self.asked_for = found, len(text)
        self.copy.setEnabled(True)
        self.view.show_tokens(found.tokens)
        await asyncio.sleep(0)  # the tokens are painted before they are counted
        await self.facts.show_counts(text, found)

    def _show_token(self, index: int) -> None:
        tokens = self.view.tokens
        if index < 0:
            self.facts.show_token(None)
        else:
            count = figures.count(len(tokens))
            self.facts.show_token(tokens[index], say("tokenizer.of", place=figures.count(index + 1), count=count))

    def copy_ids(self) -> None:
        """All ids, as a list that Python and JSON read."""
        if self.found is not None:
            ids = [token.id for token in self.found.tokens]
            QGuiApplication.clipboard().setText(str(ids))
            self._window.notify("ok", say("tokenizer.copied", count=figures.count(len(ids))), page=self)

    def _fail(self, error: UserError) -> None:
        self._clear_notice()
        self._notice.addWidget(Banner("bad", say("tokenizer.failed"), str(error)))
        self._show_nothing()

    def _show_nothing(self) -> None:
        """What an earlier text or another model had would be taken for an answer."""
        self.found, self.asked_for = None, -1
        self.copy.setEnabled(False)
        self._cut.hide()
        self.view.show_tokens(())
        self.facts.show_nothing()

    def _clear_notice(self) -> None:
        while item := self._notice.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
