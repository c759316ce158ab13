"""What the rest of the window says of a table: the dot on the rail while it is measured, a toast when it ends.

Invariant: it holds no widget of a page, so it goes on telling while the page is not built or built anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.services.profiling import ProfilingState
from app.services.profiling_news import News, TableEnded
from app.ui.widgets.badge import Tone
from core.store.records import ProfileRun
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


class ProfilingNews:
    def __init__(self, window: Window, context: AppContext, show: Callable[[int], object], place: int) -> None:
        """`show` opens a table, `place` is that of the page on the rail."""
        self._window, self._open, self._place = window, show, place
        self._busy = False
        self._ends: list[Callable[[], None]] = [
            context.profiling.changed.listen(self._on_state),
            context.profiling.news.listen(self._on_news),
        ]
        self._on_state(context.profiling.state)

    def leave(self) -> None:
        for end in self._ends:
            end()

    def _on_state(self, state: ProfilingState) -> None:
        busy = state.run is not None
        if busy != self._busy:
            self._busy = busy
            self._window.rail.set_busy(self._place, busy, say("profile_ui.at_work"))

    def _on_news(self, one: News) -> None:
        if isinstance(one, TableEnded):
            words, tone = ended_words(one.run)
            self._window.notify(tone, words, say("profile_ui.show_table"), lambda: self._open(one.run.id))


def ended_words(run: ProfileRun) -> tuple[str, Tone]:
    """A table that lost cells is not told as a success."""
    key, tone = _ended(run)
    lost = say("profile_ui.count_lost", count=run.lost)
    return say(f"profile_ui.{key}", name=run.name, done=run.measured, count=run.cells, lost=lost), tone


def _ended(run: ProfileRun) -> tuple[str, Tone]:
    if run.state != "done":
        return "stopped", "info"
    return ("ended_lost", "warn") if run.lost else ("ended", "ok")
