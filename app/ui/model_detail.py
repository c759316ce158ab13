"""The pane beside the table of models: facts of one model, each with its source, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.services.library import Installed
from app.ui.tokens import Space
from app.ui.widgets.button import Button, wide
from app.ui.widgets.feedback import copyable
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from core import figures
from core.translation import say

WIDTH = 340


class ModelDetail(QWidget):
    """
    Signals:
        asked: "chat", "verify" or "remove"
    """

    asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("ground", "sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(WIDTH)
        self._shown: Installed | None = None
        self._lines: QVBoxLayout = column(gap=Space.S)
        self._lines.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        self.setLayout(column(Scroll(pane(self._lines), say("models.details")), gap=0))

    def show_model(self, model: Installed) -> None:
        if model == self._shown:
            return
        self._shown = model
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        for part in self._parts(model):
            self._lines.addWidget(part)
        self._lines.addStretch(1)

    def _parts(self, model: Installed) -> list[QWidget]:
        facts = model.manifest
        chat = wide(Button(say("models.chat_with"), "primary", "chat"))
        chat.clicked.connect(lambda: self.asked.emit("chat"))
        rows = [
            ("kind", say("models.kind_chat" if facts.can_chat else "models.kind_base")),
            ("parameters", figures.parameters(facts.parameters)),
            ("architecture", facts.architecture),
            ("weights", figures.precision(facts.weights)),
            ("context", say("models.tokens", count=figures.count(facts.context_length))),
            ("size", figures.size(facts.size_bytes)),
            ("licence", facts.licence or say("models.not_stated")),
            ("files", str(len(facts.files))),
            ("added", facts.added[:10] or "–"),
        ]
        place = copyable(str(model.files_folder))
        return [
            label(facts.name, "title", wrap=True),
            label(say("models.from", source=facts.source), "caption", "muted", wrap=True),
            chat,
            Line(),
            *(pane(row(label(say(f"models.{key}"), "caption", "muted"), None, label(value, "caption")))
              for key, value in rows),
            Line(),
            label(say("models.place"), "caption", "muted"),
            place,
            *([label(say("models.in_place"), "caption", "muted", wrap=True)] if facts.location else []),
            self._actions(model),
        ]  # fmt: skip

    def _actions(self, model: Installed) -> QWidget:
        verify = wide(Button(say("models.verify"), "secondary", "check"))
        verify.clicked.connect(lambda: self.asked.emit("verify"))
        reveal = wide(Button(say("models.reveal"), "secondary", "folder"))
        reveal.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(model.files_folder))))
        remove = wide(Button(say("models.remove"), "ghost", "trash"))
        remove.clicked.connect(lambda: self.asked.emit("remove"))
        return pane(column(verify, reveal, remove, gap=Space.XS))
