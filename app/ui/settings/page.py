"""The settings page: preferences, what this machine has, the log. Three views behind one switch in the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QStackedWidget, QWidget

from app.ui.widgets.page import headed, page_header
from app.ui.widgets.toggle import Segmented
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

VIEWS = ("preferences", "machine", "log")


class SettingsPage(QWidget):
    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self._window, self._context = window, context
        self._views: dict[str, QWidget] = {}
        self._stack = QStackedWidget()
        self.choice = Segmented(say("window.settings"), [say(f"settings.{view}") for view in VIEWS])
        self.choice.chosen.connect(lambda index: self.show_view(VIEWS[index]))
        self.setFocusProxy(self.choice)
        self.setLayout(headed(page_header(say("window.settings"), self.choice, None), self._stack))
        self.show_view("preferences")

    def show_view(self, name: str) -> None:
        """One of VIEWS, built on its first visit."""
        if name not in self._views:
            self._views[name] = self._make(name)
            self._stack.addWidget(self._views[name])
        self._stack.setCurrentWidget(self._views[name])
        self.choice.choose(VIEWS.index(name))

    def _make(self, name: str) -> QWidget:
        if name == "preferences":
            from app.ui.settings.preferences import PreferencesView

            return PreferencesView(self._window, self._context)
        if name == "machine":
            from app.ui.settings.machine import MachineView

            return MachineView(self._context)
        from app.ui.settings.log import LogView

        return LogView()

    def adapt(self, wide: bool) -> None:
        """Nothing beside the page."""

    def leave(self) -> None:
        """Every choice is in force already."""
