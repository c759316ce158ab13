"""What the rest of the window says of the server: the dot on the rail, toasts, the question before an exchange.

Invariant: it holds no widget of a page, so it goes on telling while the page is not built or built anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.services.serving import ServerState
from app.ui.server import exchange, words
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


class ServerNews:
    def __init__(self, window: Window, context: AppContext, place: int) -> None:
        """`place` is that of the page on the rail."""
        self._window, self._place = window, place
        self._inference = context.inference
        self._before = context.serving.state
        self._inference.may_exchange = partial(exchange.may_exchange, window, context)
        self._ends: list[Callable[[], None]] = [context.serving.changed.listen(self._on_state)]
        self._show_dot(context.serving.state)

    def leave(self) -> None:
        for end in self._ends:
            end()

    def _on_state(self, state: ServerState) -> None:
        before, self._before = self._before, state
        if (before.phase, len(before.live)) != (state.phase, len(state.live)):
            self._show_dot(state)
        if self._is_in_view():
            return
        show = say("server_ui.show")
        if state.error is not None and state.error is not before.error:
            title = say("server_ui.toast_failed", reason=words.error_words(state.error))
            self._window.notify("bad", title, show, self._go)
        elif state.phase == "open" and before.phase == "opening":
            key = "server_ui.toast_again" if state.deaths > 0 else "server_ui.toast_open"
            self._window.notify("ok", say(key, address=state.address, name=state.model), show, self._go)

    def _show_dot(self, state: ServerState) -> None:
        self._window.rail.set_busy(self._place, state.phase != "closed", words.short(state))

    def _is_in_view(self) -> bool:
        return self._window.rail.items[self._place].isChecked()

    def _go(self) -> None:
        self._window.go("server")
