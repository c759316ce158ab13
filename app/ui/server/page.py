"""The server page: this program's own server, with the button that opens and closes it; and other machines that answer.

Invariant: the button says what it does now; what the server does belongs to its service: leaving the page, or building
it anew, closes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.ui import shortcuts
from app.ui.server.local_view import LocalView
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, pane
from app.ui.widgets.page import headed, page_header
from app.ui.widgets.toggle import Segmented
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.remote.engines import RemoteEngines
    from app.ui.window import Window

VIEWS = ("local", "machines")


class ServerPage(QWidget):
    """
    Attributes:
        local: the view of this program's own server
        turn: the button that opens and closes it
        machines: the view of other machines, None until it is first shown
    """

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.turn = Button(say("server_ui.start"), "primary", "play")
        self.local = LocalView(window, context)
        self.local.turned.connect(self._show_turn)
        self.turn.clicked.connect(self.local.turn)
        self.turn.setToolTip(shortcuts.keys("server", "turn_server"))
        self.views = QStackedWidget()
        self.views.addWidget(self.local)
        self.machines: RemoteEngines | None = None
        self.choice = Segmented(say("server_ui.title"), [say(f"server_ui.view_{view}") for view in VIEWS])
        self.choice.chosen.connect(lambda index: self.show_view(VIEWS[index]))
        self._window, self._context = window, context
        self.setLayout(headed(page_header(say("server_ui.title"), self.choice, None, self.turn), self.views))
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        shortcuts.bind(self, "server", "turn_server", self.local.turn)
        shortcuts.bind(self, "server", "copy_address", self.local.copy_address)
        shortcuts.bind(self, "server", "copy_snippet", self.local.copy_snippet)
        self._show_turn()

    def show_view(self, name: str) -> None:
        """One of VIEWS; that of other machines is made on its first visit."""
        if name == "machines" and self.machines is None:
            from app.ui.remote.engines import RemoteEngines

            self.machines = RemoteEngines(self._window, self._context)
            frame = column(self.machines)
            frame.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
            self.views.addWidget(pane(frame))
        self.views.setCurrentIndex(VIEWS.index(name))
        self.choice.choose(VIEWS.index(name))
        self.turn.setVisible(name == "local")

    def _show_turn(self) -> None:
        is_busy = self.local.is_busy
        words = say("server_ui.stop" if is_busy else "server_ui.start")
        self.turn.setText(words)
        self.turn.setAccessibleName(words)
        self.turn.variant = "secondary" if is_busy else "primary"
        self.turn.icon_name = "stop" if is_busy else "play"
        self.turn.updateGeometry()
        self.turn.update()

    def adapt(self, wide: bool) -> None:
        self.local.adapt(wide)

    def leave(self) -> None:
        self.local.leave()
        if self.machines is not None:
            self.machines.leave()
