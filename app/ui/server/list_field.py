"""A line with several entries, commas between them: checked on leaving, kept only when it is right.

Invariant: a wrong one stays on the screen with its reason, and is not kept.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from app.ui.tokens import Space
from app.ui.widgets.layout import column, label
from core.errors import UserError
from core.translation import say


class ListField(QWidget):
    """
    Signals:
        taken: the entries, as a tuple, when they are others than before
    """

    taken = Signal(object)

    def __init__(self, name: str, example: str, check: Callable[[tuple[str, ...]], None]) -> None:
        """name: `server_ui.<name>` and `server_ui.<name>_means` are its words; check: Raises UserError, told in the
        words `server_ui.<code>`"""
        super().__init__()
        self._check = check
        self._entries: tuple[str, ...] = ()
        self.box = QLineEdit()
        self.box.setPlaceholderText(example)
        self.box.setAccessibleName(say(f"server_ui.{name}"))
        self.box.editingFinished.connect(self._take)
        self.wrong = label("", "caption", "bad", wrap=True)
        self.note = label("", "caption", "warn", wrap=True)
        for one in (self.wrong, self.note):
            one.hide()
        means = label(say(f"server_ui.{name}_means"), "caption", "muted", wrap=True)
        title = label(say(f"server_ui.{name}"), "strong")
        body = column(title, means, self.box, self.wrong, self.note, gap=Space.XS)
        body.setContentsMargins(Space.L, 0, Space.L, Space.L)
        self.setLayout(body)

    def show_entries(self, entries: tuple[str, ...], note: str = "") -> None:
        """note: what is to be known of them."""
        self._entries = entries
        self.note.setText(note)
        self.note.setVisible(bool(note))
        if not self.box.hasFocus():
            self.box.setText(", ".join(entries))

    def _take(self) -> None:
        written = self.box.text().replace(";", ",").split(",")
        entries = tuple(one.strip().rstrip("/") for one in written if one.strip())
        wrong = ""
        try:
            self._check(entries)
        except UserError as error:
            wrong = say(f"server_ui.{error.code}", **error.params)
        self.wrong.setText(wrong)
        self.wrong.setVisible(bool(wrong))
        self.box.setProperty("invalid", bool(wrong))
        self.box.style().polish(self.box)
        if not wrong and entries != self._entries:
            self.taken.emit(entries)
