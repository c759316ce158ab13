"""One machine in the list: its name, address and models, and whether it answered when it was asked last."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.services.remote.client import Found
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import Elided, column, label, row
from core.remote_engine import RemoteEngine, host_of
from core.translation import say


class EngineRow(QWidget):
    """
    Attributes:
        check, change, remove: its buttons
        told: what the last check said, "" before one
    """

    def __init__(self, engine: RemoteEngine, *, has_key: bool) -> None:
        super().__init__()
        self.told = ""
        self._engine = engine
        self._state = Badge("", "neutral", "dot")
        self._state.hide()
        marks = [self._state]
        if engine.is_readable_on_the_way:
            marks.append(_mark("unencrypted", "warn"))
        if has_key:
            marks.append(_mark("has_key", "key"))
        models = ", ".join(model.id for model in engine.models) or say("remote.no_models")
        self.check = Button(say("remote.check"), "secondary", "refresh", small=True)
        self.change = Button(say("remote.edit"), "secondary", "edit", small=True)
        self.remove = IconButton("trash", say("remote.remove"))
        for button in (self.check, self.change, self.remove):
            button.setAccessibleName(f"{button.accessibleName() or button.text()}: {engine.name}")
        title = row(Elided(engine.name, "strong"), *marks, None, gap=Space.S)
        self._words = label("", "caption", "soft", wrap=True)
        self._words.hide()
        words = column(title, Elided(engine.url, "caption", "muted"), Elided(models, "caption", "soft"), self._words,
                       gap=Space.XS)  # fmt: skip
        line = row(words, self.check, self.change, self.remove, gap=Space.S)
        line.setStretch(0, 1)
        line.setContentsMargins(Space.L, Space.M, Space.M, Space.M)
        self.setLayout(line)

    def show_checking(self) -> None:
        self.check.setEnabled(False)
        self._state.show_state(say("remote.checking"), "neutral", "dot")
        self._state.show()

    def show_trouble(self, words: str) -> None:
        self._show(words, "bad")
        self._state.show_state(say("remote.no_answer"), "bad", "dot")

    def show_found(self, found: Found) -> None:
        """It answers; a model that was chosen may be gone from it."""
        ids = [model.id for model in found.models]
        host = host_of(found.url)
        gone = next((model.id for model in self._engine.models if model.id not in ids), "")
        words = say("remote.answers_one" if len(ids) == 1 else "remote.answers_means", host=host, count=len(ids))
        self._show(say("remote.model_missing", host=host, model=gone) if gone else words, "warn" if gone else "soft")
        self._state.show_state(say("remote.answers"), "warn" if gone else "ok", "dot")

    def _show(self, words: str, tone: str) -> None:
        self.told = words
        self.check.setEnabled(True)
        self._words.setProperty("tone", tone)
        self._words.style().polish(self._words)
        self._words.setText(words)
        self._words.show()


def _mark(code: str, look: str) -> Badge:
    badge = Badge(say(f"remote.{code}"), "warn" if look == "warn" else "neutral", look)
    badge.setToolTip(say(f"remote.{code}_means"))
    return badge
