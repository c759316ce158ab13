"""The profiler page in the real window: measured, cancelled, gone on with, compared, exported, deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QWidget

from app.ui.profiler.compare_view import CompareView
from app.ui.profiler.detail import CellDialog
from app.ui.profiler.export import RATIO
from app.ui.profiler.naming import NameDialog
from app.ui.profiler.page import ProfilerPage
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.toast import Toast
from app.ui.window import PAGES, Window
from core.translation import say
from tests.helpers import profile_tables as tables
from tests.helpers.fake_profile_worker import ARGV, HANGS
from tests.helpers.live_window import live, settle
from tests.helpers.profiler_page import LONG_S, begin, ended, page_of, profiler, shown
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


def bars(page: ProfilerPage, name: str) -> dict[str, tuple[str, str]]:
    """What is drawn: by form its number and what is said after it."""
    part: Any = page.run_view.sections["bars"]
    return {item.name: (item.shown, item.remark) for item in part.bars[name].items}


def button(root: QWidget, words: str) -> Button:
    return next(one for one in root.findChildren(Button) if one.text() == words and one.isVisible())


def toast(window: Window) -> Any:
    return next((one for one in window.findChildren(Toast) if one.isVisible()), None)


async def test_a_table_is_chosen_measured_and_its_bars_appear() -> None:
    async with profiler() as (window, context):
        page = await page_of(window)
        assert page.view == "empty" and page.empty.starter.text() == say("profile_ui.fetch_and_compare")
        page.show_new()
        view = page.new_view
        await until(lambda: view.plan is not None, LONG_S)
        assert [one.cell.weights for one in view.foreseen] == ["bfloat16", "int8", "int4"], "what is usual here"
        assert view.foreseen[0].cell.subject.name == "starter-shape"
        await begin(page, "bfloat16", "float32")
        await until(lambda: window.rail.items[PAGES.index("profiler")].busy or context.profiling.state.run is None)
        await ended(page)
        assert bars(page, "speed") == {"BF16": ("50.0 tok/s", ""), "FP32": ("50.0 tok/s", "")}
        assert bars(page, "memory")["BF16"] == ("400 MB", "")
        assert page.head.state.accessibleName() == say("profile.state_done")
        await until(lambda: toast(window) is not None)
        assert not page.strip.isVisible() and not window.rail.items[PAGES.index("profiler")].busy
        timeline = page.run_view.timeline
        assert timeline is not None
        await until(lambda: set(timeline.lines) == {"own", "resident"})
        assert [phase.name for phase in timeline.chart.plot.frame.phases] == ["Load", "Write"]
        assert not timeline.snapshot.isEnabled() and timeline.snapshot.accessibleDescription()
        limits: Any = page.run_view.sections["limits"]
        assert limits.rates["read"][0].text() == "20.0 GB/s" and limits.bars["bandwidth"].items
        page.show_new()
        await until(lambda: page.new_view.time.text().startswith("about"), LONG_S)  # learned from this table


async def test_a_crash_and_a_full_memory_stand_in_their_place_and_the_table_goes_on() -> None:
    async with profiler() as (window, context):
        page = await page_of(window)
        await begin(page, "int8", "int4", "bfloat16")
        await ended(page)
        assert page.head.state.accessibleName() == "done, 2 failed", "no success"
        await until(lambda: toast(window) is not None)
        assert "1 of 3 cells are measured, 2 failed" in " ".join(
            one.text() for one in toast(window).findChildren(QLabel)
        )
        found = bars(page, "speed")
        assert found["Int8"][0] == say("profile_ui.cell_failed")
        assert found["Int4"][0] == say("profile_ui.cell_out_of_memory")
        assert found["BF16"][0] == "50.0 tok/s"
        failed = next(key for key in page.run_view.shown.results if "int8" in key)  # type: ignore[union-attr]
        dialog = await opened(window, page, failed)
        assert "crashed" in " ".join(label.text() for label in dialog.findChildren(type(page.run_view.facts)))
        dialog.accept()
        await settle(3)
        before = page.run_view.shown.results["tiny|bfloat16|plain|4+4x1"].measured_at  # type: ignore[union-attr]
        button(page, say("profile_ui.try_again")).click()
        await until(lambda: context.profiling.state.run is not None, LONG_S)
        await ended(page)
        assert page.shown is not None and [one.state for one in page.shown.results.values()] == [
            "failed", "out_of_memory", "done"
        ]  # fmt: skip
        assert page.shown.results["tiny|bfloat16|plain|4+4x1"].measured_at == before, "what was measured stays"


async def test_a_cancelled_table_keeps_its_cells_and_is_gone_on_with() -> None:
    async with profiler() as (window, context):
        page = await page_of(window)
        await begin(page, "bfloat16", news=(4, HANGS, 8))
        await until(lambda: len(context.profiling.state.results) == 1, LONG_S)
        await until(lambda: page.strip.isVisible() and "1 of 3" in page.strip.name.text(), LONG_S)
        await until(lambda: window.status._job.text() == say("profile_ui.status", name="tiny: BF16, 4 + 4/13/8"))
        context.preferences.change(language="zh")  # everything is built anew, and nothing is lost
        page = await page_of(window)
        await until(lambda: page.view == "run" and page.run_view.is_built, LONG_S)
        assert context.profiling.state.run is not None and page.strip.isVisible()
        assert say("profile_ui.cancel_hint") == page.strip.cancel.toolTip() != ""
        context.preferences.change(language="en")
        page = await page_of(window)
        await until(lambda: page.view == "run" and page.run_view.is_built, LONG_S)
        page.strip.cancel.click()
        await ended(page)
        assert not page.strip.isVisible() and page.head.state.accessibleName() == say("profile.state_cancelled")
        button(page, say("profile_ui.resume")).click()
        await until(lambda: context.profiling.state.index == 1 and page.strip.skip.isEnabled(), LONG_S)
        await until(lambda: context.profiling.state.timeline.samples, LONG_S)
        page.strip.skip.click()
        await ended(page)
        assert page.shown is not None and [one.state for one in page.shown.results.values()] == [
            "done", "not_run", "done"
        ]  # fmt: skip


async def test_a_window_that_is_closed_meanwhile_keeps_what_was_measured() -> None:
    async with live() as (window, context):
        context.profiling._argv = list(ARGV)
        page = await page_of(window)
        await begin(page, "bfloat16", news=(4, HANGS))
        await until(lambda: len(context.profiling.state.results) == 1, LONG_S)
    async with profiler() as (window, _):
        page = await page_of(window)
        await until(lambda: page.shown is not None and page.run_view.is_built, LONG_S)
        assert page.shown is not None and page.shown.run.state == "cancelled" and len(page.shown.results) == 1
        assert button(page, say("profile_ui.resume")).isEnabled()


async def test_a_table_that_was_begun_outlives_a_change_of_language() -> None:
    async with profiler() as (window, context):
        page = await page_of(window)
        page.show_new()
        form = page.new_view.form
        await until(lambda: page.new_view.plan is not None, LONG_S)
        form.kinds["own"].click()
        form.chips["weights"]["int4"].click()
        form.chips["kv_caches"]["int8"].click()
        form.chips["methods"]["lora"].click()
        form.quality.click()
        form.repeats.choose(3)
        form.fields["batches"].edit.setText("1, 2")
        form.fields["batches"].edit.editingFinished.emit()
        context.preferences.change(language="zh")
        page = await page_of(window)
        await until(lambda: page.view == "new" and page.new_view.plan is not None, LONG_S)
        form, plan = page.new_view.form, page.new_view.plan
        assert plan is not None and plan.weights == ("bfloat16", "int8") and plan.kv_caches == ("plain", "int8")
        assert [work.method for work in plan.training] == ["lora", "lora"] and plan.quality and plan.repeats == 5
        assert {case.batch for case in plan.cases} == {1, 2}
        assert form.quality.isChecked() and form.repeats.current == 3 and form.kinds["own"].isChecked()
        assert form.fields["batches"].edit.text() == "1, 2"


async def opened(window: Window, page: ProfilerPage, key: str) -> CellDialog:
    page.run_view.asked.emit(key)
    await until(lambda: window.findChildren(CellDialog))
    return window.findChildren(CellDialog)[-1]


async def test_every_number_opens_its_command_versions_machine_and_date() -> None:
    async with profiler() as (window, context):
        run = await tables.put(context, tables.FORMS)
        page = await page_of(window)
        await shown(page, run)
        part: Any = page.run_view.sections["bars"]
        part.bars["speed"].setFocus()
        QTest.keyClick(part.bars["speed"], Qt.Key.Key_Down)
        QTest.keyClick(part.bars["speed"], Qt.Key.Key_Return)
        await until(lambda: window.findChildren(CellDialog))
        dialog = window.findChildren(CellDialog)[-1]
        dialog.copy_all.click()
        said = QGuiApplication.clipboard().text()
        for part_ in ("qwen-workbench profile -m Qwen3-0.6B", "--kv int8", "torch 2.13.0", "EPYC 9654", "2026-11-21"):
            assert part_ in said
        dialog._see_timeline()
        timeline = page.run_view.timeline
        assert timeline is not None
        await until(lambda: "int8" in timeline.key and len(timeline.lines["own"].series) > 50)
        cells: Any = page.run_view.sections["cells"]
        table = cells.rows.table
        table.setCurrentIndex(table.model().index(0, 3))
        QTest.keyClick(table, Qt.Key.Key_Return)
        await until(lambda: [one for one in window.findChildren(CellDialog) if one.isVisible()])
        window.findChildren(CellDialog)[-1].accept()
        await settle(3)


async def test_published_values_and_cells_without_memory_stand_beside_ours() -> None:
    async with profiler() as (window, context):
        readme = await tables.put(context, tables.README, machine=tables.CARD)
        kv = await tables.put(context, tables.KV, machine=tables.CARD)
        training = await tables.put(context, tables.TRAINING, machine=tables.CARD)
        small = await tables.put(context, tables.SMALL_README)
        page = await page_of(window)
        await shown(page, readme)
        assert "30.3 tok/s 40.8 tok/s 1.35×" in rows(page, "readme", "rows")[0]
        await shown(page, kv)
        assert not page.run_view.sections["readme"].isVisible()
        plain, packed = rows(page, "kv", "batches")
        assert plain.endswith(say("profile_ui.oom_short")) and say("profile_ui.published_out") in plain
        assert "A100: 72.4" in packed and say("profile_ui.oom_short") not in packed
        await shown(page, training)
        assert "1.10" in rows(page, "training", "rows")[0] and "1.60 s/step" in rows(page, "readme", "rows")[0]
        assert not page.run_view.sections["bars"].isVisible()
        await shown(page, small)
        assert "0.92× 1.50×" in rows(page, "readme", "ratios")[0], "of other models only what a form gains"


def rows(page: ProfilerPage, section: str, table: str) -> list[str]:
    part: Any = page.run_view.sections[section]
    model = getattr(part, table).table.model()
    return [" ".join(str(model.index(row, column).data()) for column in range(model.columnCount())).strip()
            for row in range(model.rowCount())]  # fmt: skip


async def test_a_table_says_what_it_measured_and_with_what_limits() -> None:
    """Quality in a column of its own, shares of one case, what is above a limit, what was not measured."""
    async with profiler(1000, 640) as (window, context):
        whole = await tables.put(context, tables.FORMS)
        part = await tables.put(context, tables.FORMS, state="cancelled", cells=0)
        page = await page_of(window)
        await shown(page, whole)
        cells: Any = page.run_view.sections["cells"]
        model = cells.rows.table.model()
        heads = {str(model.headerData(place, Qt.Orientation.Horizontal)): place for place in range(model.columnCount())}
        texts = [str(model.index(row, heads["Perplexity"]).data()) for row in range(model.rowCount())]
        assert "12.31" in texts and "12.31" not in rows(page, "cells", "rows")[0]
        hint = model.headerData(heads["Off by"], Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
        assert hint == say("profile_ui.hint_off")
        assert cells.rows.note.isVisible() and "Bandwidth" in cells.rows.note.text(), (
            "what there is no room for is named"
        )
        limits: Any = page.run_view.sections["limits"]
        assert len({key.rpartition("|")[2] for key in limits._keys["bandwidth"]}) == 1, "like beside like"
        assert not limits.above.isVisible()
        assert page.shown is not None
        one = next(iter(page.shown.results.values()))
        above = page.shown.results | {one.cell.key: msgspec.structs.replace(one, bandwidth_share=1.45)}
        limits.show_table(page.shown._replace(results=above))
        assert limits.above.isVisible()
        await shown(page, part)
        assert say("profile_ui.not_measured") in rows(page, "cells", "rows")[0]
        assert "median" not in page.run_view.facts.text()


async def test_a_table_is_renamed() -> None:
    async with profiler() as (window, context):
        first = await tables.put(context, tables.FORMS, "before")
        page = await page_of(window)
        await until(lambda: page.view == "run")
        page.actions_.rename(first.id)
        await until(lambda: window.findChildren(NameDialog))
        dialog = window.findChildren(NameDialog)[-1]
        dialog.field.setText("   ")
        assert not button(dialog, say("profile_ui.rename_now")).isEnabled()
        dialog.field.setText(" with  one thread ")
        button(dialog, say("profile_ui.rename_now")).click()
        await until(lambda: page.runs[0].name == "with one thread")
        assert page.shown is not None and page.shown.run.name == "with one thread"
        assert "with one thread" in page.head.choice.text()
        assert (await context.profiling.run(first.id))[0].name == "with one thread"


async def test_two_tables_are_compared_and_one_is_deleted_and_brought_back() -> None:
    async with profiler() as (window, context):
        first = await tables.put(context, tables.FORMS, "before")
        second = await tables.put(context, tables.FORMS, "after", faster=1.2)
        page = await page_of(window)
        page.show_runs()
        page.runs_view.choose([first.id, second.id])
        await until(page.runs_view.compare.isEnabled)
        page.runs_view.compare.click()
        await until(lambda: page.view == "compare")
        view = page._views["compare"]
        assert isinstance(view, CompareView) and view.rows.table is not None
        model = view.rows.table.model()
        said = [str(model.index(row, 3).data()) for row in range(model.rowCount())]
        assert f"{say('profile_ui.better')} +20.0%" in said and f"{say('profile_ui.same')} +0.0%" in said
        view.rows.table.clicked.emit(model.index(0, 1))
        await until(lambda: window.findChildren(CellDialog))
        window.findChildren(CellDialog)[-1].accept()
        await settle(3)
        page.go_back()
        page.actions_.delete(second.id)
        await until(lambda: [run.id for run in page.runs] == [first.id])
        button(toast(window), say("chat.undo")).click()
        await until(lambda: len(page.runs) == 2)
        await until(lambda: page.shown is not None and page.shown.run.id == second.id)
        assert page.shown is not None and len(page.shown.results) == 18
        assert (await context.profiling.timeline(second.id, page.shown.cells[0].key)).samples


async def test_a_table_goes_out_as_csv_markdown_and_a_picture(tmp_path: Path) -> None:
    async with profiler() as (window, context):
        run = await tables.put(context, tables.FORMS, "forms")
        page = await page_of(window)
        await shown(page, run)
        out = page.actions_.exporting()
        for form in ("csv", "markdown", "png"):
            await out.write(form, page.run_view, tmp_path / f"table.{form}")
        assert "Qwen3-0.6B,inference,bfloat16" in (tmp_path / "table.csv").read_text()
        assert (tmp_path / "table.markdown").read_text().startswith("# forms")
        image = QImage(str(tmp_path / "table.png"))
        assert image.width() > 2000 and image.height() > 2000
        limits: Any = page.run_view.sections["limits"]
        parts = [part for part in page.run_view.sections.values() if not part.isHidden()]
        assert parts[-1] is limits
        top = image.height() - round(
            RATIO * (limits.height() + Space.XL)
        )  # its head, where the button stands on the page
        head = image.copy(image.width() // 2, top, image.width() // 2, round(RATIO * limits.again.height()))
        assert len({head.pixel(x, y) for x in range(0, head.width(), 2) for y in range(0, head.height(), 2)}) == 1
        await out.copy(page.run_view)
        assert QGuiApplication.clipboard().text().startswith("# forms")
        nowhere = tmp_path / "no" / "such" / "table.csv"
        await page.guarded(lambda: out.write("csv", page.run_view, nowhere))
        assert "could not be written" in page.failure()


async def test_what_would_not_fit_is_said_before_and_two_tables_never_run_at_once() -> None:
    async with profiler() as (window, context):
        page = await page_of(window)
        wish = context.profiling_wish
        page.show_new()
        wish.shapes, wish.weights, wish.is_touched = ["72B"], ["float32"], True
        page.new_view.form.changed.emit()
        await until(lambda: page.new_view.foreseen and page.new_view.lost.isVisible(), LONG_S)
        assert "GB" in page.new_view.reason.text() and not page.new_view.start.isEnabled()
        assert page.new_view.why.text() == say("profile_ui.nothing_fits")
        page.new_view.form.fields["prompts"].edit.setText("many")
        page.new_view.form.fields["prompts"].edit.editingFinished.emit()
        assert page.new_view.form.fields["prompts"].wrong.isVisible() and wish.prompts == (256,)
        wish.shapes, wish.weights = ["tiny"], ["float32"]
        page.new_view.form.changed.emit()
        await until(lambda: page.new_view.plan is not None, LONG_S)
        assert page.new_view.why.text() == say("profile_ui.field_wrong") and not page.new_view.start.isEnabled()
        page.new_view.form.fields["prompts"].edit.setText("-4")  # and not left: the key starts from within the field
        page._start_by_key()
        assert context.profiling.state.run is None and page.view == "new"
        page.new_view.form.fields["prompts"].edit.setText("4")
        page.new_view.form.fields["prompts"].edit.editingFinished.emit()
        await until(page.new_view.start.isEnabled, LONG_S)
        await begin(page, "bfloat16", news=(HANGS,))
        page.show_new()
        await until(lambda: page.new_view.plan is not None, LONG_S)
        assert page.new_view.why.text() == say("profile_ui.busy") and not page.new_view.start.isEnabled()
        page.start(page.new_view.plan)  # type: ignore[arg-type]
        await until(lambda: say("error.profile_busy") == page.failure())
