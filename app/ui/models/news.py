"""What the rest of the window says of downloads: the dot on the rail, a toast when a model has arrived.

Invariant: it holds no widget of a page, so it goes on telling while the Models page is not built or built anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


class DownloadNews:
    def __init__(self, window: Window, context: AppContext, place: int) -> None:
        """`place`: of the Models page on the rail."""
        self._window, self._context, self._place = window, context, place
        self._ends: list[Callable[[], None]] = [
            context.downloads.changed.listen(lambda _: self._show()),
            context.downloads.arrived.listen(self._on_arrived),
        ]
        self._show()

    def leave(self) -> None:
        for end in self._ends:
            end()

    def _show(self) -> None:
        running = sum(item.state == "running" for item in self._context.downloads.items)
        self._window.rail.set_busy(self._place, running > 0, say("downloads.count_running", count=running))

    def _on_arrived(self, name: str) -> None:
        self._window.notify("ok", say("downloads.arrived", name=name), say("downloads.chat"), lambda: self._chat(name))

    def _chat(self, name: str) -> None:
        self._context.preferences.change(last_model=name)
        page = self._window.go("chat")
        page.start_with(name)  # type: ignore[union-attr]
