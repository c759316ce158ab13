"""The queue in the real window: every button and key does what it says, nothing jumps, many rows cost nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from PySide6.QtCore import QPoint, QRectF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from app.context import AppContext
from app.services.installed import Wanted
from app.ui.models import download_words
from app.ui.models.download_rows import Row, zones
from app.ui.widgets.button import Button
from app.ui.widgets.toast import Toast
from app.ui.window import PAGES, Window
from core import paths
from core.protocol.messages import Progress
from core.sources import Source
from core.translation import say
from tests.helpers import fake_hubs
from tests.helpers.fake_downloads import ARGV, TOTAL
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


@asynccontextmanager
async def downloads() -> AsyncIterator[tuple[Window, Any, AppContext]]:
    """The window on Downloads, with a queue whose downloads behave as their names say."""
    async with live(library=ARGV) as (window, context):
        context.discovery = fake_hubs.FakeDiscovery(context.discovery)
        await context.downloads.open()
        page: Any = window.go("models")
        await until(lambda: page.is_ready)
        page.show_view("downloads")
        yield window, page, context


async def add(context: AppContext, name: str) -> int:
    return (await context.downloads.add(Wanted(name, (Source("huggingface", f"Qwen/{name}"),)), TOTAL)).id


def press(page: Any, action: str, place: int = 0) -> None:
    """Click where a row shows a button."""
    view = page.downloads.list
    found = dict(zones(view.rows.rows[place], QRectF(view.visualRect(view.rows.index(place, 0)))))
    where: QPoint = found[action].center().toPoint()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)


def key(page: Any, key_: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    QTest.keyClick(page.downloads.list, key_, modifier)


NOTHING = Row(0, "", "", "waiting", "", "", None, "", "", (), False, False, ())


def row(page: Any, place: int = 0) -> Row:
    """As it stands in the list; an empty one while it is not there."""
    rows: list[Row] = page.downloads.list.rows.rows
    return rows[place] if place < len(rows) else NOTHING


def toast(window: Window) -> Any:
    shown = [one for one in window.findChildren(Toast) if one.isVisible()]
    return shown[-1] if shown else None


async def test_an_empty_queue_says_where_models_come_from() -> None:
    async with downloads() as (_, page, _context):
        assert page.downloads.empty.isVisible()
        next(one for one in page.downloads.empty.findChildren(Button)).click()
        await until(lambda: page.view == "discover" and page.discover.is_ready)


async def test_buttons_of_a_row_pause_go_on_and_take_out_with_undo() -> None:
    async with downloads() as (window, page, context):
        await add(context, "endless-1")
        await until(lambda: row(page).state == "running" and row(page).share)
        assert "from Hugging Face" in row(page).source and "1.0 MB" in row(page).amount
        press(page, "pause")
        await until(lambda: row(page).state == "paused")
        assert row(page).words == say("downloads.paused_kept")
        press(page, "resume")
        await until(lambda: row(page).state == "running")
        press(page, "cancel")
        await until(lambda: page.downloads.empty.isVisible())
        next(one for one in toast(window).findChildren(Button) if one.text() == say("chat.undo")).click()
        await until(lambda: page.downloads.list.rows.rowCount() == 1 and row(page).state == "running")


async def test_a_key_undoes_the_last_cancel_and_then_the_one_before() -> None:
    async with downloads() as (window, page, context):
        for name in ("endless-1", "endless-2", "endless-3"):
            await add(context, name)
        await until(lambda: page.downloads.list.rows.rowCount() == 3)
        for name in ("endless-3", "endless-1", "endless-2"):
            names = [one.name for one in page.downloads.list.rows.rows]
            press(page, "cancel", names.index(name))
            await until(lambda: context.downloads.find(name) is None)  # noqa: B023
            await until(lambda: name not in [one.name for one in page.downloads.list.rows.rows])  # noqa: B023
        await context.downloads.resume(context.downloads.items[1].id)  # by its toast
        for name in ("endless-1", "endless-3"):
            QTest.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
            await until(lambda: context.downloads.find(name) is not None)  # noqa: B023
        QTest.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)  # nothing is left
        await until(lambda: page.downloads.list.rows.rowCount() == 3)


async def test_everything_works_from_the_keyboard() -> None:
    async with downloads() as (_, page, context):
        for name in ("endless-1", "endless-2", "endless-3"):
            await add(context, name)
        await until(lambda: page.downloads.list.rows.rowCount() == 3 and row(page).files == () and row(page).can_fold)
        view = page.downloads.list
        view.setCurrentIndex(view.rows.index(0, 0))
        key(page, Qt.Key.Key_Right)
        await until(lambda: bool(row(page).files))
        key(page, Qt.Key.Key_Left)
        await until(lambda: not row(page).files)
        key(page, Qt.Key.Key_Space)
        await until(lambda: row(page).state == "paused")
        await until(lambda: row(page, 2).state == "running")  # the next one has its turn
        key(page, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
        await until(lambda: row(page, 1).name == "endless-1")
        assert view.currentIndex().row() == 1  # the choice goes along
        key(page, Qt.Key.Key_Delete)
        await until(lambda: page.downloads.list.rows.rowCount() == 2)


async def test_a_model_that_arrives_can_be_asked_at_once() -> None:
    async with downloads() as (window, page, context):
        await add(context, "quick-1")
        await until(lambda: toast(window) is not None)
        assert toast(window)._words == say("downloads.arrived", name="quick-1")
        await until(lambda: page.downloads.list.rows.rowCount() == 1 and row(page).state == "done")
        page.downloads.clear.click()
        await until(lambda: page.downloads.empty.isVisible())
        next(one for one in toast(window).findChildren(Button) if one.text() == say("downloads.chat")).click()
        await until(lambda: window._place == "chat")
        assert context.preferences.settings.last_model == "quick-1"


async def test_one_that_was_removed_is_not_called_installed() -> None:
    async with downloads() as (_, page, context):
        seen: set[str] = set()
        page.downloads.list.rows.dataChanged.connect(lambda *_: seen.add(row(page).words))
        await add(context, "quick-1")
        await until(lambda: row(page).state == "done" and len(page.installed.models) == 1)
        assert row(page).words == say("downloads.done") and row(page).actions == ("chat",)
        assert say("downloads.removed") not in seen
        await context.library.remove("quick-1")
        await until(lambda: row(page).words == say("downloads.removed"))
        assert row(page).actions == ()
        key(page, Qt.Key.Key_Return)
        await context.library.restore("quick-1")
        await until(lambda: row(page).words == say("downloads.done") and row(page).actions == ("chat",))


async def test_an_error_stands_in_its_row_and_can_be_tried_again() -> None:
    async with downloads() as (_, page, context):
        await add(context, "full-1")
        await until(lambda: page.downloads.list.rows.rowCount() == 1 and row(page).state == "failed")
        assert "9 GB" in row(page).error and row(page).actions[-2:] == ("retry", "cancel")
        tall = page.downloads.list.visualRect(page.downloads.list.rows.index(0, 0)).height()
        assert tall > 80
        press(page, "retry")
        await until(lambda: row(page).state == "running")
        await until(lambda: row(page).state == "failed")


async def test_one_that_waits_for_the_network_says_for_how_long() -> None:
    item = fake_hubs.item(1, "Qwen3-4B", "waiting", done=1, code="hub_unreachable", hub="ModelScope", host="m.cn")
    item.again_at = time.monotonic() + 24.4
    assert download_words.state_words(item) == say("downloads.again_in", time="24 s")
    assert "m.cn" in download_words.error_words(item)


async def test_one_from_which_nothing_comes_says_so_within_a_second_or_two() -> None:
    async with downloads() as (_, page, context):
        item = fake_hubs.item(1, "Qwen3-14B", done=1_000_000_000)
        assert item.transfer is not None
        item.transfer = fake_hubs.transfer("Qwen3-14B", 1_000_000_000, item.total_bytes, time.monotonic() - 4)
        context.downloads.items = [item]
        context.downloads.changed.emit(None)
        await until(lambda: "MB/s" in row(page).amount and row(page).words != say("downloads.stalled"))
        await until(lambda: row(page).words == say("downloads.stalled"))  # nobody tells of anything
        assert row(page).amount == download_words.of_words(1_000_000_000, item.total_bytes)
        assert download_words.short_words(item).endswith(say("downloads.stalled")) and not download_words.left_words(
            item
        )
        page.show_view("installed")
        card = page.installed._running
        await until(lambda: card.isVisible() and card._tick.isActive())
        page.show_view("downloads")
        assert not card._tick.isActive()
        item.transfer.update(Progress("job", 1_100_000_000, item.total_bytes, "downloading", "bytes"))
        await until(lambda: row(page).words != say("downloads.stalled"))
        context.downloads.items = []


async def test_one_whose_process_was_killed_blames_no_network() -> None:
    item = fake_hubs.item(1, "Qwen3-4B", "waiting", done=1, code="worker_killed", worker="W", signal="SIGKILL")
    item.again_at = time.monotonic() + 24.4
    assert download_words.state_words(item) == say("downloads.died_again_in", time="24 s")
    assert "SIGKILL" in download_words.error_words(item)


async def test_the_rest_of_the_window_knows_of_downloads() -> None:
    async with downloads() as (window, page, context):
        window.go("chat")
        download_id = await add(context, "endless-1")
        item = window.rail.items[PAGES.index("models")]
        await until(lambda: item.busy and window.status._job_part.isVisible())
        assert "endless-1" in window.status._job.text()
        window.status._job_part.click()
        await until(lambda: window._place == "models" and page.view == "downloads")
        await until(lambda: page.choice._words[2] == say("models.view_downloads_count", count=1))
        page.show_view("installed")
        await until(lambda: len(page.installed._running._rows) == 1)
        next(iter(page.installed._running._rows.values())).halted.emit()
        await until(lambda: context.downloads._item(download_id).state == "paused" and not item.busy)


async def test_progress_never_changes_a_height_and_is_drawn_ten_times_a_second() -> None:
    async with downloads() as (_, page, context):
        items = context.downloads.items = [fake_hubs.item(1, "Qwen3-14B", done=100_000_000)]
        context.downloads.changed.emit(None)
        await until(lambda: page.downloads.list.rows.rowCount() == 1)
        view = page.downloads.list
        drawn: list[int] = []
        view.rows.dataChanged.connect(lambda *_: drawn.append(view.visualRect(view.rows.index(0, 0)).height()))
        begin = time.monotonic()
        for step in range(200):
            assert items[0].transfer is not None
            done = 100_000_000 + step * 49_000_000
            items[0].transfer.update(Progress("job", done, 9_900_000_000, "downloading", "bytes"))
            context.downloads.changed.emit(None)
            await settle(1)
        assert 1 < len(drawn) <= 11 * (time.monotonic() - begin) + 1 and len(set(drawn)) == 1
        context.downloads.items = []


async def test_two_hundred_rows_need_no_widget_each() -> None:
    async with downloads() as (_, page, context):
        context.downloads.items = [fake_hubs.item(n, f"Qwen3-{n}B", "waiting") for n in range(1, 201)]
        context.downloads.changed.emit(None)
        await until(lambda: page.downloads.list.rows.rowCount() == 200)
        await settle(3)
        assert len(page.downloads.list.findChildren(QWidget)) < 12
        begin = time.perf_counter()
        page.downloads._show()
        assert time.perf_counter() - begin < 0.02
        context.downloads.items = []


async def test_a_queue_with_running_ones_above_the_tables_stays_short() -> None:
    async with downloads() as (_, page, context):
        states = ("running", "running", "paused", "waiting", "done")
        context.downloads.items = [fake_hubs.item(n, f"Qwen3-{n}B", one) for n, one in enumerate(states)]
        page.show_view("installed")
        context.downloads.changed.emit(None)
        await until(lambda: len(page.installed._running._rows) == 2)
        card = page.installed._running
        assert card._more.text() == say("downloads.more", count=2)
        card._more.click()
        await until(lambda: page.view == "downloads")
        context.downloads.items = []


async def test_a_restart_shows_the_same_queue() -> None:
    paths.models().mkdir(parents=True, exist_ok=True)
    async with downloads() as (_, page, context):
        await add(context, "endless-1")
        await until(lambda: page.downloads.list.rows.rowCount() == 1 and row(page).state == "running")
    async with downloads() as (_, page, _context):
        await until(lambda: page.downloads.list.rows.rowCount() == 1 and row(page).state == "running")
        assert row(page).name == "endless-1"


def test_amounts_name_their_unit_once() -> None:
    assert download_words.of_words(6_100_000_000, 9_900_000_000) == "6.1 of 9.9 GB"
    assert download_words.of_words(610_000_000, 9_900_000_000) == "610 MB of 9.9 GB"
    assert download_words.of_words(0, 9_900_000_000) == "9.9 GB"
