"""The Profiler page: one table, a new one, all of them, or two beside each other.

Invariant: exactly one view is shown, and how far the table under way is stands above each; what is measured belongs to
the service: leaving the page, or building it anew, ends nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStackedWidget, QWidget
from shiboken6 import isValid

from app.services.profiling_news import News, Probed, TableBegan, TableEnded
from app.services.profiling_wish import STARTER, on_the_starter
from app.ui import aio, shortcuts
from app.ui.pacing import Paced
from app.ui.profiler.actions import TableActions
from app.ui.profiler.empty import EmptyProfiler
from app.ui.profiler.head import ProfilerHead
from app.ui.profiler.strip import Strip
from app.ui.profiler.words import Shown
from app.ui.tokens import Space
from app.ui.why import why
from app.ui.widgets.button import IconButton
from app.ui.widgets.feedback import Banner, Skeleton
from app.ui.widgets.layout import Line, column, pane
from core.errors import UserError
from core.profiling.plan import ProfilePlan, cells_of
from core.store.records import ProfileRun
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.profiler.compare_view import CompareView
    from app.ui.profiler.new_view import NewView
    from app.ui.profiler.run_view import RunView
    from app.ui.profiler.runs_view import RunsView
    from app.ui.window import Window

EVERY_MS = 200


class ProfilerPage(QWidget):
    """
    Attributes:
        view: "waiting", "empty", "new", "run", "runs" or "compare", the one that is shown
        runs: newest first
        is_open: they have been read
    """

    run_view: RunView
    new_view: NewView
    runs_view: RunsView
    compare_view: CompareView

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.view, self.is_open = "waiting", False
        self.runs: list[ProfileRun] = []
        self._window, self._context, self._profiling = window, context, context.profiling
        self._error = ""
        self._wide = True
        self.actions_ = TableActions(window, context.profiling, self)
        self._build()
        self._bind()
        self._wait = Paced(self, EVERY_MS, self._show_state)
        self._starter_wait = Paced(self, EVERY_MS, self._show_starter)
        self._ends: list[Callable[[], None]] = [
            self._profiling.changed.listen(self._wait.ask),
            self._profiling.news.listen(self._on_news),
            context.library.changed.listen(self._starter_wait.ask),
            context.library.progressed.listen(self._starter_wait.ask),
        ]
        self._opening = aio.spawn(self._open(), "profiler page")

    # --- layout ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.head = ProfilerHead()
        self.head.new_asked.connect(self.show_new)
        self.head.back_asked.connect(self.go_back)
        self.head.picked.connect(self.show_run)
        self.head.runs_asked.connect(self.show_runs)
        self.head.export_asked.connect(self.actions_.open_export)
        self.head.menu_asked.connect(self.actions_.open_menu)
        self.strip = Strip()
        self.strip.skip_asked.connect(self._profiling.skip)
        self.strip.cancel_asked.connect(self._profiling.cancel)
        self.strip.show_asked.connect(self._show_under_way)
        self._notice = column(gap=0)
        strip = column(self.strip)
        strip.setContentsMargins(Space.XL, Space.M, Space.XL, Space.S)
        self._strip = pane(strip)
        self._strip.hide()
        self._stack = QStackedWidget()
        self._views: dict[str, QWidget] = {}
        waiting = column(Skeleton(6), None)
        waiting.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        self._add("waiting", pane(waiting))
        self._add("empty", self._empty())
        whole = column(self.head, Line(), self._notice, self._strip, self._stack, gap=0)
        whole.setStretch(4, 1)
        self.setLayout(whole)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # what holds it before anything on the page does
        self._turn("waiting")

    def _empty(self) -> QWidget:
        self.empty = EmptyProfiler()
        self.empty.starter_asked.connect(self.compare_on_starter)
        self.empty.new_asked.connect(self.show_new)
        self.empty.cancel_asked.connect(lambda: self._context.library.cancel(STARTER))
        return self.empty

    def _add(self, name: str, widget: QWidget) -> None:
        self._views[name] = widget
        self._stack.addWidget(widget)

    def _bind(self) -> None:
        shortcuts.bind(self, "profiler", "new_profile", self.show_new)
        shortcuts.bind(self, "profiler", "start_profile", self._start_by_key)
        shortcuts.bind(self, "profiler", "go_back", self.go_back)
        shortcuts.bind(self, "profiler", "export_profile", self.actions_.open_export)
        shortcuts.bind(self, "profiler", "all_profiles", self.show_runs)

    def _need(self, name: str) -> None:
        """Views are made when they are first shown."""
        if name in self._views:
            return
        if name == "run":
            from app.ui.profiler.run_view import RunView

            view = self.run_view = RunView(self._context)
            view.asked.connect(self.actions_.show_cell)
            view.resume_asked.connect(self.resume)
            view.again_asked.connect(self._again)
            view.command_asked.connect(self.actions_.show_command)
            view.snapshot_asked.connect(self.actions_.snapshot)
            view.probe_asked.connect(self.actions_.probe)
            self._add(name, view)
        elif name == "new":
            from app.ui.profiler.new_view import NewView

            self.new_view = NewView(self._context)
            self.new_view.start_asked.connect(self.start)
            self.new_view.adapt(self._wide)
            self._add(name, self.new_view)
        elif name == "runs":
            from app.ui.profiler.runs_view import RunsView

            self.runs_view = RunsView()
            self.runs_view.opened.connect(self.show_run)
            self.runs_view.compare_asked.connect(self.compare)
            self.runs_view.menu_asked.connect(self.actions_.open_run_menu)
            frame = column(self.runs_view)
            frame.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
            self._add(name, pane(frame))
        elif name == "compare":
            from app.ui.profiler.compare_view import CompareView

            self.compare_view = CompareView()
            self.compare_view.asked.connect(self.actions_.show_result)
            self._add(name, self.compare_view)

    # --- life -------------------------------------------------------------------------------

    async def _open(self) -> None:
        self.runs = await self._profiling.runs()
        self.is_open = True
        self._show_starter()
        kept = self._context.profiler_view
        if kept == "new":
            self.show_new()
        elif kept == "runs" and self.runs:
            self.show_runs()
        elif kept.isdigit() and any(run.id == int(kept) for run in self.runs):
            self.show_run(int(kept))
        else:
            self._show_first()
        self._show_state()

    def _show_first(self) -> None:
        run = self._profiling.state.run or next(iter(self.runs), None)
        if run is None:
            self._turn("empty")
        else:
            self.show_run(run.id)

    def adapt(self, wide: bool) -> None:
        self._wide = wide
        self.head.adapt(wide)
        if "new" in self._views:
            self.new_view.adapt(wide)

    def leave(self) -> None:
        shown = self.run_view.shown if "run" in self._views else None
        views = {"new": "new", "runs": "runs", "run": str(shown.run.id) if shown is not None else ""}
        self._context.profiler_view = views.get(self.view, "")
        for end in self._ends:
            end()
        self._wait.stop()
        self._starter_wait.stop()
        self._opening.cancel()
        for name in ("run", "new"):
            if name in self._views:
                self._views[name].leave()  # type: ignore[attr-defined]

    def _turn(self, view: str) -> None:
        self.view = view
        self._stack.setCurrentWidget(self._views[view])
        shown = self.run_view.shown if view == "run" else None
        self.head.show_view(view, self.runs, shown.run if shown is not None else None)
        self._show_strip()

    # --- views --------------------------------------------------------------------------------

    def show_new(self) -> None:
        self._need("new")
        self._turn("new")
        self.new_view.show_busy(self._profiling.state.run is not None)
        self.new_view.enter()

    def show_runs(self) -> None:
        if not self.runs:
            return
        self._need("runs")
        self.runs_view.show_runs(self.runs)
        self._turn("runs")
        self.runs_view.table.setFocus()

    def show_run(self, run_id: int) -> None:
        """One table, from the service while it is measured, else from the store."""
        self._need("run")
        aio.spawn(self.guarded(partial(self._read_run, run_id)), "read profile")

    async def _read_run(self, run_id: int) -> None:
        state = self._profiling.state
        if state.run is not None and state.run.id == run_id:
            self._show_live()
        else:
            run, results = await self._profiling.run(run_id)
            if not isValid(self):
                return
            found = {result.cell.key: result for result in results}
            self.run_view.show_table(Shown(run, cells_of(run.plan), found))
        await self.run_view.until_filled()
        if not isValid(self):
            return
        self._turn("run")
        self.run_view.show_state(self._profiling.state)

    def _show_live(self) -> None:
        state = self._profiling.state
        assert state.run is not None
        key = state.cells[state.index].key if state.index >= 0 else ""
        self.run_view.show_table(Shown(state.run, state.cells, dict(state.results), key))

    def _show_under_way(self) -> None:
        if (run := self._profiling.state.run) is not None:
            self.show_run(run.id)

    def compare(self, first: int, second: int) -> None:
        aio.spawn(self.guarded(partial(self._compare, first, second)), "compare profiles")

    async def _compare(self, first: int, second: int) -> None:
        before, after = await self._profiling.run(first), await self._profiling.run(second)
        if isValid(self):
            self._need("compare")
            self.compare_view.show_two(before, after)
            self._turn("compare")

    def go_back(self) -> None:
        if self.view == "compare":
            self.show_runs()
        elif self.view in ("new", "runs"):
            shown = self.run_view.shown if "run" in self._views else None
            if shown is not None and any(run.id == shown.run.id for run in self.runs):
                self.show_run(shown.run.id)
            else:
                self._show_first()

    # --- measuring ---------------------------------------------------------------------------------

    def compare_on_starter(self) -> None:
        self.empty.starter.setEnabled(False)
        aio.spawn(self.guarded(self._compare_on_starter), "compare on the starter")

    async def _compare_on_starter(self) -> None:
        try:
            if not self.has_starter():
                await self._context.library.fetch(STARTER)
            if self.has_starter():  # else it was cancelled
                self.start(on_the_starter(self._profiling.subject(STARTER)))
        finally:
            if isValid(self):
                self.empty.starter.setEnabled(True)

    def has_starter(self) -> bool:
        try:
            return bool(self._context.library.find(STARTER))
        except UserError:
            return False

    def _show_starter(self) -> None:
        """What the button does first, where the model is not there yet."""
        if isValid(self):
            transfer = self._context.library.transfers.get(STARTER)
            self.empty.show_transfer(transfer)
            if transfer is None:
                self.empty.show_starter(is_there=self.has_starter())

    def start(self, plan: ProfilePlan) -> None:
        aio.spawn(self._follow(self._profiling.start(plan)), "profile")

    def resume(self, failed_too: bool) -> None:
        shown = self.run_view.shown
        if shown is not None:
            aio.spawn(self._follow(self._profiling.resume(shown.run.id, failed_too=failed_too)), "resume profile")

    async def _follow(self, events: AsyncGenerator[News, None]) -> None:
        """The table goes on whatever becomes of the page; what it tells comes by the service's own events too."""
        if isValid(self):
            self._clear_notice()
        try:
            async with aclosing(events) as news:
                async for one in news:
                    if isinstance(one, TableBegan) and isValid(self):
                        self.show_run(one.run.id)
        except UserError as error:
            if isValid(self):
                self.tell(error)
            else:
                self._window.notify("bad", str(error))

    def _again(self) -> None:
        if (shown := self.run_view.shown) is not None:
            self.start(shown.run.plan)

    def _start_by_key(self) -> None:
        if self.view == "new":
            self.new_view.go()
        elif self.view == "empty" and self.empty.starter.isEnabled():
            self.compare_on_starter()

    # --- what the service tells ----------------------------------------------------------------------

    def _on_news(self, one: News) -> None:
        if isinstance(one, TableBegan | TableEnded):
            self._put(one.run)
            self._show_strip()
            if isinstance(one, TableEnded) and "run" in self._views:
                shown = self.run_view.shown
                if shown is not None and shown.run.id == one.run.id:
                    aio.spawn(self.guarded(partial(self._reread, one.run.id)), "read profile")
        elif isinstance(one, Probed) and "run" in self._views:
            self.run_view.show_probe(one.probe)

    async def _reread(self, run_id: int) -> None:
        run, results = await self._profiling.run(run_id)
        shown = self.run_view.shown if isValid(self) else None
        if shown is not None and shown.run.id == run_id:
            self.run_view.show_table(Shown(run, cells_of(run.plan), {one.cell.key: one for one in results}))
            self.run_view.show_state(self._profiling.state)
            self._show_runs()

    def _put(self, run: ProfileRun) -> None:
        """In its place among those that are known."""
        others = [one for one in self.runs if one.id != run.id]
        self.runs = sorted([*others, run], key=lambda one: one.id, reverse=True)
        self._show_runs()

    def _show_runs(self) -> None:
        if "runs" in self._views:
            self.runs_view.show_runs(self.runs)
        shown = self.run_view.shown if self.view == "run" else None
        self.head.show_view(self.view, self.runs, shown.run if shown is not None else None)

    def _show_state(self) -> None:
        state = self._profiling.state
        self._show_strip()
        if "new" in self._views:
            self.new_view.show_busy(state.run is not None)
        if "run" not in self._views or state.run is None:
            return
        shown = self.run_view.shown
        if shown is not None and shown.run.id == state.run.id:
            key = state.cells[state.index].key if state.index >= 0 else ""
            if shown.current != key or len(shown.results) != len(state.results):
                self._show_live()
            self.run_view.show_state(state)

    def _show_strip(self) -> None:
        state = self._profiling.state
        shown = self.run_view.shown if self.view == "run" else None
        is_in_view = shown is not None and state.run is not None and shown.run.id == state.run.id
        self.strip.show_state(state, is_in_view=is_in_view)
        self._strip.setVisible(state.run is not None)

    def take_name(self, run: ProfileRun) -> None:
        """It was renamed."""
        shown = self.run_view.shown if "run" in self._views else None
        if shown is not None and shown.run.id == run.id:
            self.run_view.shown = shown._replace(run=run)
        self._put(run)

    def forget(self, run_id: int) -> None:
        """It was deleted."""
        self.runs = [run for run in self.runs if run.id != run_id]
        shown = self.run_view.shown if "run" in self._views else None
        if shown is not None and shown.run.id == run_id:
            self.run_view.forget()
        if self.view in ("run", "compare") or not self.runs:
            self._show_first()
        self._show_runs()

    def bring_back(self, run: ProfileRun) -> None:
        self._put(run)
        self.show_run(run.id)

    @property
    def shown(self) -> Shown | None:
        """The table in view."""
        return self.run_view.shown if self.view == "run" else None

    # --- what went wrong ----------------------------------------------------------------------------------

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it; its error stands on the page until it is closed or the next verb begins."""
        self._clear_notice()
        try:
            await work()
        except UserError as error:
            if isValid(self):
                self.tell(error)

    def failure(self) -> str:
        """The error that stands on the page, "" when none does."""
        return self._error

    def tell(self, error: UserError) -> None:
        self._clear_notice()
        self._error = str(error)
        close = IconButton("close", say("kit.close"))
        close.clicked.connect(self._clear_notice)
        self._notice.setContentsMargins(Space.XL, Space.M, Space.XL, 0)
        self._notice.addWidget(
            Banner("bad", say("profile_ui.failed"), str(error), *why(self._window, error.code), close)
        )

    def _clear_notice(self) -> None:
        self._error = ""
        self._notice.setContentsMargins(0, 0, 0, 0)
        while item := self._notice.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
