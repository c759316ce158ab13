"""What can be done with a table that was measured, each once: its cells, command, files, comparison, removal.

Invariant: nothing is lost by a click: what is deleted can be brought back from the toast that says so.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QFileDialog
from shiboken6 import isValid

from app.services.profiling import Deleted, ProfilingService
from app.ui import aio
from app.ui.profiler.words import run_title
from app.ui.widgets.menu import Menu
from core.profiling.command import command_of_plan
from core.profiling.result import CellResult
from core.translation import say

if TYPE_CHECKING:
    from app.ui.profiler.export import Exporting
    from app.ui.profiler.page import ProfilerPage
    from app.ui.window import Window

FORMS = ("csv", "markdown", "png")
OTHERS = 8  # tables to compare with, in the menu


class TableActions:
    def __init__(self, window: Window, profiling: ProfilingService, page: ProfilerPage) -> None:
        self._window, self._profiling, self._page = window, profiling, page

    # --- a cell, a command ------------------------------------------------------------------

    def show_cell(self, key: str) -> None:
        """Of the table in view."""
        result = self._page.run_view.result(key)
        if result is not None:
            aio.spawn(self._show_cell(result, has_timeline=True), "cell")

    def show_result(self, result: CellResult) -> None:
        """Of another table."""
        aio.spawn(self._show_cell(result, has_timeline=False), "cell")

    async def _show_cell(self, result: CellResult, *, has_timeline: bool) -> None:
        from app.ui.profiler.detail import CellDialog

        dialog = CellDialog(self._window, result, has_timeline=has_timeline)
        await aio.ask(dialog)
        if dialog.wants_timeline and isValid(self._page):
            self._page.run_view.see_timeline(result.cell.key)

    def show_command(self) -> None:
        if (shown := self._page.shown) is not None:
            from app.ui.profiler.command import CommandDialog

            aio.spawn(aio.ask(CommandDialog(self._window, command_of_plan(shown.run.plan))), "command")

    # --- while it is measured ---------------------------------------------------------------

    def snapshot(self) -> None:
        aio.spawn(self._page.guarded(self._snapshot), "snapshot")

    async def _snapshot(self) -> None:
        dialog = QFileDialog(self._window, say("profile_ui.snapshot"), str(Path.home()))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("pickle")
        dialog.selectFile("memory.pickle")
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            file = await self._profiling.take_snapshot(Path(dialog.selectedFiles()[0]))
            self._window.notify("ok", say("profile_ui.written", file=file.name))

    def probe(self) -> None:
        aio.spawn(self._page.guarded(self._probe), "probe")

    async def _probe(self) -> None:
        self._window.notify("info", say("profile_ui.probing"))
        probe = await self._profiling.probe(anew=True)
        if isValid(self._page):
            self._page.run_view.show_probe(probe)
            self._window.notify("ok", say("profile_ui.probed"))

    # --- on its way out ----------------------------------------------------------------------

    def exporting(self) -> Exporting:
        from app.ui.profiler.export import Exporting

        return Exporting(self._window, self._profiling)

    def open_export(self) -> None:
        page = self._page
        if page.shown is None:
            return
        menu, out = Menu(page), self.exporting()
        for form in FORMS:
            menu.add(say(f"profile_ui.save_{form}"), partial(self._export, out, form), "download")
        copy = partial(out.copy, page.run_view)
        menu.add(say("profile_ui.copy_markdown"), lambda: aio.spawn(page.guarded(copy), "copy table"), "copy")
        menu.popup(page.head.export.mapToGlobal(page.head.export.rect().bottomLeft()))

    def _export(self, out: Exporting, form: str) -> None:
        aio.spawn(self._page.guarded(partial(out.ask, form, self._page.run_view)), "export table")

    # --- its menu -----------------------------------------------------------------------------

    def open_menu(self, where: QPoint) -> None:
        if (shown := self._page.shown) is not None:
            self.open_run_menu(shown.run.id, where)

    def open_run_menu(self, run_id: int, where: QPoint) -> None:
        page, state = self._page, self._profiling.state
        is_at_work = state.run is not None and state.run.id == run_id
        menu = Menu(page)
        if page.view != "run":
            menu.add(say("profile_ui.open"), lambda: page.show_run(run_id), "external")
        else:
            for other in [run for run in page.runs if run.id != run_id][:OTHERS]:
                first, second = sorted((run_id, other.id))
                words = say("profile_ui.compare_with", name=run_title(other))
                menu.add(words, partial(page.compare, first, second), "layers")
            if page.has_starter():
                menu.addSeparator()
                menu.add(say("profile_ui.compare_starter"), page.compare_on_starter, "play")
                menu.actions()[-1].setEnabled(state.run is None)
        menu.addSeparator()
        menu.add(say("profile_ui.rename"), lambda: self.rename(run_id), "edit")
        menu.actions()[-1].setEnabled(not is_at_work)
        menu.add(say("profile_ui.delete"), lambda: self.delete(run_id), "trash")
        menu.actions()[-1].setEnabled(not is_at_work)
        menu.popup(where)

    def rename(self, run_id: int) -> None:
        aio.spawn(self._page.guarded(partial(self._rename, run_id)), "rename profile")

    async def _rename(self, run_id: int) -> None:
        from app.ui.profiler.naming import NameDialog

        run, _ = await self._profiling.run(run_id)
        dialog = NameDialog(self._window, run.name)
        if await aio.ask(dialog) == NameDialog.DialogCode.Accepted:
            run = await self._profiling.rename(run_id, dialog.name)
            if isValid(self._page):
                self._page.take_name(run)

    def delete(self, run_id: int) -> None:
        aio.spawn(self._page.guarded(partial(self._delete, run_id)), "delete profile")

    async def _delete(self, run_id: int) -> None:
        gone = await self._profiling.delete(run_id)
        undo = lambda: aio.spawn(self._restore(gone), "restore profile")  # noqa: E731
        self._window.notify("info", say("profile_ui.deleted", name=gone.run.name), say("chat.undo"), undo)
        if isValid(self._page):
            self._page.forget(run_id)

    async def _restore(self, gone: Deleted) -> None:
        await self._profiling.restore(gone)
        if isValid(self._page):
            self._page.bring_back(gone.run)
