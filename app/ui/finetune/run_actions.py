"""What can be done with a fine-tune, each once: for its page and for the menu of its row.

Invariant: nothing is lost by a click: what is removed can be brought back, a stop keeps what was learned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QPoint, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget

from app.services.training import Run
from app.ui import aio
from app.ui.widgets.menu import Menu
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

Guarded = Callable[[Awaitable[None]], Coroutine[Any, Any, None]]
VERBS = {
    "chat": "chat", "pause": "pause", "resume": "play", "stop": "stop", "folder": "folder", "remove": "trash",
}  # fmt: skip


def possible(run: Run) -> list[str]:
    """The verbs that mean something as it stands."""
    state = run.status.state
    found = ["chat"] if run.result else []
    if state == "running":
        found += ["pause", "stop"]
    elif state in ("paused", "interrupted", "failed", "new"):
        found.append("resume")
    found.append("folder")
    if not run.status.is_alive:
        found.append("remove")
    return found


class RunActions:
    def __init__(self, window: Window, context: AppContext, guarded: Guarded) -> None:
        self._window, self._context, self._guarded = window, context, guarded

    def open_menu(self, parent: QWidget, run: Run, where: QPoint) -> None:
        menu = Menu(parent)
        for verb in possible(run):
            if verb == "remove":
                menu.addSeparator()
            menu.add(say(f"finetune_ui.verb_{verb}"), partial(self.act, verb, run), VERBS[verb])
        menu.popup(where)

    def act(self, verb: str, run: Run) -> None:
        training = self._context.training
        match verb:
            case "chat":
                self._context.preferences.change(last_model=run.result)
                page = self._window.go("chat")
                page.start_with(run.result)  # type: ignore[union-attr]
            case "folder":
                QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.path)))
            case "remove":
                aio.spawn(self._guarded(self._remove(run)), "remove run")
            case "pause":
                aio.spawn(self._guarded(training.pause(run.id)), "pause run")
            case "resume":
                aio.spawn(self._guarded(training.resume(run.id)), "resume run")
            case "stop":
                aio.spawn(self._guarded(training.stop(run.id)), "stop run")
            case _:
                pass

    async def _remove(self, run: Run) -> None:
        if run.result and self._context.inference.state.adapter == run.result:
            await self._context.inference.unload()
        await self._context.training.remove(run.id)
        undo = lambda: aio.spawn(self._guarded(self._context.training.restore(run.id)), "restore run")  # noqa: E731
        self._window.notify("info", say("finetune_ui.removed", name=run.name), say("chat.undo"), undo)
