"""What the rest of the window says of fine-tunes: the dot on the rail, a toast when one ends, and a notification of the
desktop while the window is not in front.

Invariant: it holds no widget of a page, so it goes on telling while the page of the runs is not built or built anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QSystemTrayIcon

from app.services.training import Run
from app.ui import icons, theme
from app.ui.pacing import Paced
from app.ui.widgets.badge import Tone
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

EVERY_MS = 200


class TrainingNews:
    def __init__(self, window: Window, context: AppContext, show: Callable[[str], object], place: int) -> None:
        """`show` opens the page of a run, `place` is that of the runs on the rail."""
        self._window, self._training, self._open, self._place = window, context.training, show, place
        self._tray: QSystemTrayIcon | None = None
        self._wait = Paced(window, EVERY_MS, self._show)
        self._ends: list[Callable[[], None]] = [
            self._training.changed.listen(self._wait.ask),
            self._training.ended.listen(self._on_ended),
        ]
        self._show()

    def leave(self) -> None:
        for end in self._ends:
            end()
        self._wait.stop()
        if self._tray is not None:
            self._tray.hide()
            self._tray.deleteLater()
            self._tray = None

    def _show(self) -> None:
        running = sum(run.status.is_alive for run in self._training.runs)
        self._window.rail.set_busy(self._place, running > 0, say("run_ui.count_running", count=running))

    def _on_ended(self, run: Run) -> None:
        words, tone = ended_words(run)
        self._window.notify(tone, words, say("run_ui.show"), lambda: self._open(run.id))
        if run.status.state != "paused" and not self._window.isActiveWindow():
            self._notify_desktop(words, tone)

    def _notify_desktop(self, words: str, tone: Tone) -> None:
        if not (QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()):
            return
        if self._tray is None:
            self._tray = QSystemTrayIcon(icons.icon("finetune", theme.colors().accent), self._window)
            self._tray.messageClicked.connect(self._window.come_forward)
            self._tray.activated.connect(lambda _: self._window.come_forward())
        self._tray.show()
        kinds = QSystemTrayIcon.MessageIcon
        self._tray.showMessage("Qwen Workbench", words, kinds.Warning if tone == "bad" else kinds.Information)


def ended_words(run: Run) -> tuple[str, Tone]:
    """One short sentence; the page has the reason."""
    match run.status.state:
        case "finished":
            return say("run_ui.ended_finished", name=run.name), "ok"
        case "paused":
            return say("run_ui.ended_paused", name=run.name), "info"
        case "failed":
            return say("run_ui.ended_failed", name=run.name), "bad"
        case _:
            return say("run_ui.ended_interrupted", name=run.name), "bad"
