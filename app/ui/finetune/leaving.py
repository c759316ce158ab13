"""What a fine-tune left goes further: merged into a model of its own, or written to a folder for other programs.

Invariant: nothing is overwritten, and both run beside everything else; their end is told wherever the user is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QFileDialog

from app.services.inference import as_error
from app.ui import aio
from app.ui.widgets.menu import Menu
from core.errors import UserError
from core.models.steps import result
from core.protocol.messages import Failed, Finished, JobEvent
from core.training import exporting
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


class Leaving:
    def __init__(self, window: Window, context: AppContext) -> None:
        self._window, self._context = window, context

    def merge(self, adapter: str) -> None:
        aio.spawn(self._merge(adapter), "merge")

    def export(self, name: str) -> None:
        """Asks in which form first, then where to."""
        menu = Menu(self._window)
        is_adapter = bool(self._context.library.find(name).manifest.base)
        forms = ("adapter", "merged", "merged_int4") if is_adapter else ("model", "int4")
        for form in forms:
            menu.add(say(f"finetune_ui.export_{form}"), partial(self._export_as, name, form), "share")
        menu.popup(QCursor.pos())

    def _export_as(self, name: str, form: str) -> None:
        aio.spawn(self._export(name, form), "export")

    async def _merge(self, adapter: str) -> None:
        library = self._context.library
        self._window.notify("info", say("finetune_ui.merging", name=adapter))
        try:
            name = _free(f"{adapter}-merged", {model.manifest.name for model in await library.installed()})
            if await _done(library.merge(adapter, name)):
                go = partial(self._window.go, "models")
                self._window.notify("ok", say("finetune_ui.merged", name=name), say("finetune_ui.show_models"), go)
        except UserError as error:
            self._window.notify("bad", str(error))

    async def _export(self, name: str, form: str) -> None:
        dialog = QFileDialog(self._window, say("finetune_ui.export_where"), str(Path.home()))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        if await aio.ask(dialog) != QFileDialog.DialogCode.Accepted:
            return
        library, place = self._context.library, Path(dialog.selectedFiles()[0])
        out = place / _free(
            name if form in ("adapter", "model") else f"{name}-{form.replace('_', '-')}",
            {p.name for p in place.iterdir()},
        )
        self._window.notify("info", say("finetune_ui.exporting", folder=str(out)))
        try:
            if form == "merged":
                is_done = await _done(library.merge(name, out=out))
            elif form.endswith("int4"):
                is_done = await _done(library.write_int4(name, out))
            else:
                files = library.files_of(name)
                source = library.find(name).files_folder
                base = str(files.folder) if files.adapter is not None else ""
                await asyncio.to_thread(lambda: result(exporting.export(source, out, base)))
                is_done = True
            if is_done:
                self._window.notify("ok", say("finetune_ui.exported", folder=str(out)))
        except UserError as error:
            self._window.notify("bad", str(error))


async def _done(events: AsyncGenerator[JobEvent, None]) -> bool:
    """Whether it ran to its end. Raises UserError when it failed."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Failed):
                raise as_error(event)
            if isinstance(event, Finished):
                return event.reason == "stop"
    return False


def _free(wished: str, taken: set[str]) -> str:
    known = {name.lower() for name in taken}
    names = (wished, *(f"{wished}-{number}" for number in range(2, 1000)))
    return next(name for name in names if name.lower() not in known)
