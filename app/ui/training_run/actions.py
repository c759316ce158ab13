"""What can be done with a fine-tune, each once: for its page, for the menu of its row and for a toast.

Invariant: nothing is lost by a click: what is removed can be brought back, a stop keeps what was learned; and what
cannot be done says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QPoint, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from app.services.training import Run
from app.ui import aio
from app.ui.finetune.making_room import begin
from app.ui.models.reading import ReadingDialog
from app.ui.server.exchange import may_unload
from app.ui.training_run.more_dialog import MoreDialog
from app.ui.training_run.words import is_stopped
from app.ui.widgets.menu import Menu
from core.training import run_files
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

Guarded = Callable[[Awaitable[None]], Coroutine[Any, Any, None]]
VERBS = {
    "pause": "pause", "resume": "play", "stop": "stop", "more": "plus", "kill": "close", "chat": "chat",
    "again": "refresh", "folder": "folder", "log": "terminal", "remove": "trash",
}  # fmt: skip
LOG_BYTES = 200_000


def reasons(run: Run) -> dict[str, str]:
    """Of every verb, why it cannot be done now; "" where it can."""
    state = run.status.state
    found = dict.fromkeys(VERBS, "")
    if state in ("pausing", "stopping"):
        for verb in ("pause", "stop", "resume"):
            found[verb] = say(f"run_ui.why_{state}")
    elif state == "running":
        found["resume"] = say("run_ui.why_running")
    else:
        found["pause"] = say("run_ui.why_not_running")
        found["stop"] = "" if run.can_be_kept else say("run_ui.why_not_running")
    if state == "finished" and not is_stopped(run):
        found["resume"] = say("run_ui.why_finished")
    if run.status.is_alive:
        for verb in ("remove", "more"):
            found[verb] = say("run_ui.why_at_work")
    if not run.status.is_alive or run.status.is_responsive:
        found["kill"] = say("run_ui.why_responds" if run.status.is_alive else "run_ui.why_not_running")
    if not run.result:
        found["chat"] = say("run_ui.why_no_result")
    return found


def main_verbs(run: Run) -> list[str]:
    """Those with a button in the head, the primary one first."""
    if run.status.is_alive:
        return ["pause", "stop"] if run.status.is_responsive else ["kill", "pause", "stop"]
    if run.status.state == "finished" and not is_stopped(run):
        return ["more"]
    return ["resume"]


class RunActions:
    """`again`: asked to open the wizard with the recipe of a run."""

    def __init__(
        self, window: Window, context: AppContext, guarded: Guarded, again: Callable[[Run], object] | None = None
    ) -> None:
        self._window, self._context, self._guarded, self._again = window, context, guarded, again

    def open_menu(self, parent: QWidget, run: Run, where: QPoint) -> None:
        menu = Menu(parent)
        found = reasons(run)
        for verb, icon in VERBS.items():
            if verb == "again" and self._again is None:
                continue
            if verb == "remove":
                menu.addSeparator()
            words = say(f"run_ui.verb_{verb}")
            words = say("run_ui.not_now", verb=words, why=found[verb]) if found[verb] else words
            menu.add(words, partial(self.act, verb, run), icon)
            menu.actions()[-1].setEnabled(not found[verb])
        menu.popup(where)

    def act(self, verb: str, run: Run) -> None:
        training = self._context.training
        match verb:
            case "resume":
                aio.spawn(self._guarded(self.with_room(run, lambda: training.resume(run.id))), "resume run")
            case "pause" | "stop" | "kill":
                aio.spawn(self._guarded(getattr(training, verb)(run.id)), f"{verb} run")
            case "more":
                aio.spawn(self._guarded(self._more(run)), "more epochs")
            case "chat":
                self.chat_with(run.result)
            case "again" if self._again is not None:
                self._again(run)
            case "folder":
                QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.path)))
            case "log":
                aio.spawn(self._read_log(run), "log of run")
            case "remove":
                aio.spawn(self._guarded(self._remove(run)), "remove run")
            case _:
                pass

    def chat_with(self, model: str) -> None:
        self._context.preferences.change(last_model=model)
        page = self._window.go("chat")
        page.start_with(model)  # type: ignore[union-attr]

    async def _more(self, run: Run) -> None:
        dialog = MoreDialog(self._window, run)
        if await aio.ask(dialog) == MoreDialog.DialogCode.Accepted:
            await self.with_room(run, lambda: self._context.training.more(run.id, dialog.epochs))

    async def with_room(self, run: Run, work: Callable[[], Awaitable[None]]) -> None:
        """Once a model that is loaded for chatting has made room, where it is in the way."""
        needed = await self._context.training.needed(run.id) if self._context.inference.state.phase == "ready" else 0
        await begin(self._window, self._context, run.recipe, needed, work)

    async def _remove(self, run: Run) -> None:
        if run.result and self._context.inference.state.adapter == run.result:
            if not await may_unload(self._window, self._context):
                return
            await self._context.inference.unload()
        await self._context.training.remove(run.id)
        undo = lambda: aio.spawn(self._guarded(self._context.training.restore(run.id)), "restore run")  # noqa: E731
        self._window.notify("info", say("run_ui.removed", name=run.name), say("chat.undo"), undo)

    async def _read_log(self, run: Run) -> None:
        dialog = ReadingDialog(self._window, say("run_ui.log_of", name=run.name))
        filling = aio.spawn(self._fill(dialog, run.path / run_files.LOG), "read log")
        try:
            await aio.ask(dialog)
        finally:
            filling.cancel()

    async def _fill(self, dialog: ReadingDialog, file: Path) -> None:
        text = await asyncio.to_thread(_end_of, file)
        if not isValid(dialog):
            return
        if text:
            dialog.show_plain(text)
        else:
            dialog.show_nothing(say("run_ui.no_log"), say("run_ui.no_log_means"))


def _end_of(file: Path) -> str:
    """The last of it, from a whole line on."""
    try:
        data = file.read_bytes()
    except OSError:
        return ""
    shown = data[-LOG_BYTES:]
    return (shown.partition(b"\n")[2] if len(data) > LOG_BYTES else shown).decode("utf-8", "replace").strip()
