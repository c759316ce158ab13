"""The profiler page in the whole window, with the real service over a worker that measures nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.context import AppContext
from app.ui.profiler.page import ProfilerPage
from app.ui.window import Window
from core.load_options import WeightChoice
from core.store.records import ProfileRun
from tests.helpers.fake_profile_worker import ARGV
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

LONG_S = 20.0


@asynccontextmanager
async def profiler(width: int = 1440, height: int = 900) -> AsyncIterator[tuple[Window, AppContext]]:
    """`go` shows the page; a table that is still measured at the end is cancelled."""
    async with live(width, height) as (window, context):
        context.profiling._argv = list(ARGV)
        yield window, context
        context.profiling.cancel()
        await until(lambda: context.profiling.state.run is None, LONG_S)
        await settle(3)


async def page_of(window: Window) -> ProfilerPage:
    page = window.go("profiler")
    assert isinstance(page, ProfilerPage)
    await until(lambda: page.is_open, LONG_S)
    return page


async def shown(page: ProfilerPage, run: ProfileRun | int) -> None:
    """The table, whole and settled."""
    run_id = run if isinstance(run, int) else run.id
    page.show_run(run_id)
    await until(lambda: page.shown is not None and page.shown.run.id == run_id and page.run_view.is_built, LONG_S)
    await settle(8)


async def begin(page: ProfilerPage, *weights: WeightChoice, news: tuple[int, ...] = (4,)) -> None:
    """A table of the tiny shape, chosen in the form and started by its button."""
    wish = page._context.profiling_wish
    page.show_new()
    wish.models, wish.shapes, wish.is_touched = [], ["tiny"], True
    wish.weights, wish.prompts, wish.news = list(weights), (4,), news
    page.new_view.form.changed.emit()
    await until(page.new_view.start.isEnabled, LONG_S)
    page.new_view.start.click()
    await until(lambda: page.view == "run" and page.run_view.is_built, LONG_S)


async def ended(page: ProfilerPage) -> None:
    await until(lambda: page._profiling.state.run is None, LONG_S)
    await until(lambda: page.shown is not None and page.shown.run.state != "running", LONG_S)
    await settle(5)
