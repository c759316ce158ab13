"""The list of other machines in a dialog of its own, for whoever chooses a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QDialog

from app.ui.remote.engines import RemoteEngines
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Line, column, label, pane, row
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

WIDTH, HEIGHT = 720, 480


class RemoteDialog(QDialog):
    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__(window)
        self.setWindowTitle(say("remote.title"))
        self.setModal(True)
        self.engines = RemoteEngines(window, context)
        close = Button(say("kit.close"), "secondary")
        close.clicked.connect(self.accept)
        body = column(label(say("remote.title"), "heading"), self.engines, gap=Space.M)
        body.setStretch(1, 1)
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.M)
        foot = row(None, close)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(pane(body), Line(), foot, gap=0)
        whole.setStretch(0, 1)
        self.setLayout(whole)
        room = window.size()
        self.resize(min(WIDTH, room.width() - 40), min(HEIGHT, room.height() - 40))
        self.finished.connect(lambda _: self.engines.leave())
