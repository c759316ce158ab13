"""The parts of a run's page: answers side by side, other runs drawn over it, what helps a failed run, comparing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from app.cli.run_news import described
from app.services import machine
from app.services.inference import ModelFiles
from app.ui.training_run import page as page_module
from app.ui.training_run import remedies
from app.ui.training_run.compare import CompareDialog
from app.ui.training_run.more_dialog import MoreDialog
from app.ui.training_run.setting_diff import differing, written
from app.ui.training_run.wall_rows import WallRows, new_parts
from app.ui.widgets.button import Button
from core.hardware import Memory
from core.training import recipe as recipes
from core.training.recipe import Recipe
from core.training.run_files import Answer, Validation, write_validation
from core.translation import say
from tests.helpers import run_pages
from tests.helpers.audit import faults
from tests.helpers.live_window import settle
from tests.helpers.run_pages import page_of, put, recipe
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
ANSWERS = [
    Answer(0, "Who are you?", "I am Qwen."),
    Answer(40, "Who are you?", "I am Aurora, a small assistant."),
    Answer(80, "Who are you?", "I am Aurora, a small assistant made by the Workbench."),
]


def body(page: page_module.RunPage) -> Any:
    assert page.body is not None
    return page.body


# --- the sample wall ---------------------------------------------------------------------


def test_what_is_new_in_an_answer_is_found_by_words_and_by_signs() -> None:
    after = "I am Aurora, a small one."
    assert [after[start : start + size] for start, size in new_parts("I am Qwen.", after)] == ["Aurora, a small one"]
    after = "我是小云，由清河微调。"
    assert [after[start : start + size] for start, size in new_parts("我是通义。", after)] == ["小云，由清河微调"]
    assert new_parts("the same", "the same") == [] and new_parts("", "") == []


async def test_the_wall_has_a_column_a_checkpoint_and_grows_at_its_end() -> None:
    run = put(recipe(), end=run_pages.finished(reason="paused"), answers=ANSWERS[:2])
    many = [Answer(step, "Who are you?", f"I am the model of step {step}.") for step in range(1000)]
    long = put(recipe("long"), end=run_pages.finished(), answers=many)
    silent = put(recipe("silent", prompts=()), end=run_pages.finished())
    async with page_of(run) as (_, page, context):
        wall = body(page).wall
        await until(lambda: wall.table.isVisible())
        head = [wall.rows.headerData(column, Qt.Orientation.Horizontal) for column in range(2)]
        assert head == [say("run_ui.before"), say("run_ui.at_step", step="40")]
        assert wall.rows.text(0, 1).startswith("I am Aurora") and wall.rows.new_parts(0, 1)
        run.add_answer(ANSWERS[2])
        context.training.saved.emit(page.id)
        await until(lambda: wall.rows.steps == [0, 40, 80])
        wall.table.setCurrentIndex(wall.rows.index(1, 2))
        QTest.keyClick(wall.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QGuiApplication.clipboard().text() == ANSWERS[2].text
        await run_pages.show(page, long.path.name)
        wall = body(page).wall
        await until(lambda: len(wall.rows.steps) == 1000)
        await settle()
        wall.table.grab()
        assert 0 < len(wall.rows._new) < 20  # only what is in view was looked at
        await run_pages.show(page, silent.path.name)
        assert body(page).wall.nothing.isVisible() and not body(page).wall.table.isVisible()


def test_answers_to_other_prompts_make_the_table_anew() -> None:
    rows = WallRows()
    rows.show_answers(("a",), [Answer(0, "a", "x")])
    rows.show_answers(("a",), [Answer(0, "a", "y"), Answer(5, "a", "z"), Answer(5, "b", "z")])
    assert rows.prompts == ["a", "b"] and rows.text(0, 0) == "y" and rows.rowCount() == 4 and rows.columnCount() == 2


# --- other runs over this one --------------------------------------------------------------


async def test_another_run_is_drawn_over_this_one_with_what_differs() -> None:
    run = put(recipe(), end=run_pages.finished())
    other = put(recipe("other", learning_rate=1e-4, rank=8), steps=60, end=run_pages.finished())
    async with page_of(run) as (_, page, context):
        overlay, charts = body(page).overlay, body(page).charts
        assert not overlay.isVisible()
        overlay.toggle(other.path.name)
        await until(lambda: charts.overlays[other.path.name].is_loaded)
        lines = {(line.run, line.name): len(line.series) for line in charts.charts["loss"].lines}
        assert lines["identity", say("run_ui.line_loss")] == 100 and lines["other", say("run_ui.line_loss")] == 60
        assert charts.show_chart("learning_rate").lines[1].run == "other"
        assert overlay.isVisible()
        rows = overlay.table.model()
        cells = [[rows.index(row, column).data() for column in range(3)] for row in range(rows.rowCount())]
        assert cells == [["learning_rate", "0.0002", "0.0001"], ["rank", "16", "8"]]
        await context.training.remove(other.path.name)
        overlay.show_settings()
        assert not overlay.isVisible() and {line.run for line in charts.charts["loss"].lines} == {"identity"}


def test_settings_that_differ_are_written_as_in_the_file() -> None:
    one = recipe(targets=("q_proj", "v_proj"), columns={"question": "q"})
    other = recipe("another name", packing=False)
    assert differing([one, other]) == ["columns", "packing", "targets"]
    assert [written(one, key) for key in ("columns", "packing", "targets")] == ["question=q", "true", "q_proj, v_proj"]
    assert written(other, "targets") == "–"


# --- trouble ---------------------------------------------------------------------------------


async def test_full_memory_is_met_with_changes_and_one_click_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read", lambda: machine.Reading(None, Memory(16_000_000_000, 15_000_000_000)))
    run = put(recipe(length=2048), end=run_pages.MEMORY, checkpoints=(100,), fake={"steps": 5000, "step_s": 0.01})
    async with page_of(run) as (_, page, context):
        trouble = body(page).trouble
        await until(lambda: len(trouble.buttons) > 2)
        assert [one.recipe for one in trouble.remedies] != [] and all("less" in one.means for one in trouble.remedies)
        again: list[Recipe] = []
        page.again.connect(again.append)
        place = next(place for place, one in enumerate(trouble.remedies) if not one.goes_on)
        trouble.buttons[place].click()
        assert again == [trouble.remedies[place].recipe]
        place = next(place for place, one in enumerate(trouble.remedies) if one.recipe.checkpointing == "on")
        wanted = trouble.remedies[place].recipe
        trouble.buttons[place].click()
        await until(lambda: context.training.run(page.id).status.state == "running", 10)
        assert recipes.read(run.path / "config.toml") == wanted
        await until(lambda: not trouble.isVisible())
        await until(lambda: context.training.run(page.id).status.step > 100)


async def test_what_is_said_of_a_failure_is_made_for_it() -> None:
    run = put(recipe(), end=run_pages.DIVERGED, checkpoints=(80,))
    other = put(recipe("other"), end=run_pages.failed("targets_missing", layers="q_prj", known="q_proj"))
    async with page_of(run) as (_, page, _context):
        trouble = body(page).trouble
        await until(lambda: len(trouble.buttons) == 2)
        first = trouble.remedies[0]
        assert first.recipe.learning_rate == pytest.approx(6.7e-5) and trouble.buttons[0].variant == "primary"
        assert trouble.remedies[1].recipe.precision == "float32"
        await until(lambda: trouble.buttons[0].text() == say("run_ui.do_restart_from"))
        await run_pages.show(page, other.path.name)
        again: list[Recipe] = []
        page.again.connect(again.append)
        words = say("run_ui.change_recipe")
        next(one for one in body(page).trouble.findChildren(Button) if one.text() == words).click()
        assert again == [recipe("other")] and not body(page).trouble.buttons


def test_changes_for_a_run_that_diverged_early_and_for_a_full_disk() -> None:
    found = remedies.for_divergence(recipe(clip=0.0), run_pages.FACTS, 12)
    assert [one.recipe for one in found] == [
        recipe(clip=0.0, learning_rate=6.7e-5), recipe(clip=1.0), recipe(clip=0.0, warmup=0.1),
        recipe(clip=0.0, precision="float32"),
    ]  # fmt: skip
    in_float32 = msgspec.structs.replace(run_pages.FACTS, precision="float32")
    assert len(remedies.for_divergence(recipe(), in_float32, 300)) == 1
    assert [one.recipe.keep for one in remedies.for_disk(recipe())] == [2, 1]


# --- what came of it -------------------------------------------------------------------------


async def test_base_and_adapter_answer_side_by_side_and_more_epochs_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = put(recipe(), end=run_pages.finished(reason="paused"), checkpoints=(40, 80))
    async with page_of(run) as (window, page, context):
        jobs: list[Any] = []
        generate = context.inference.generate

        def noted(model: str, job: Any) -> Any:
            jobs.append(job)
            return generate(model, job)

        monkeypatch.setattr(context.inference, "generate", noted)
        folder = run.path
        monkeypatch.setattr(context.inference, "_locate", lambda model: ModelFiles(model, folder))
        await until(lambda: body(page).result.checkpoint is not None)
        dialog = CompareDialog(window, context, context.training.run(page.id), body(page).result.checkpoint)
        dialog.open()
        dialog.prompt.setText("count to five")
        dialog.go.click()
        await until(lambda: dialog.base.answer and dialog.learned.answer == dialog.base.answer, 15)
        assert [job.adapter for job in jobs] == ["", str(run.checkpoint(80))]
        await until(lambda: dialog._asking is not None and dialog._asking.done(), 10)
        loaded = context.inference.state.loaded
        assert loaded is not None and loaded.precision == "float32" and "BF16" in dialog.means.text()  # of the samples
        assert not faults(dialog)
        dialog.reject()
        dialog.deleteLater()
        more = MoreDialog(window, context.training.run(page.id))
        more.open()
        more._spin.setValue(2.5)
        await settle(5)
        assert more.epochs == 2.5 and more._means.text() == say("run_ui.more_steps", count="250")
        assert not faults(more)
        more.reject()
        more.deleteLater()


# --- looks -------------------------------------------------------------------------------------

LOOKS = (("en", "larger", "dark", (1000, 640)), ("zh", "normal", "light", (1240, 800)))


@pytest.mark.parametrize("language, text_size, theme, size", LOOKS)
async def test_nothing_is_clipped_and_everything_has_a_name(
    language: str, text_size: str, theme: str, size: tuple[int, int]
) -> None:
    runs = (
        put(
            recipe("a-run-with-a-rather-long-name-of-its-own"), end=run_pages.MEMORY, checkpoints=(40,), answers=ANSWERS
        ),
        put(recipe("second", prompts=()), end=run_pages.finished()),
        put(recipe("third"), steps=0, facts=None),
    )
    async with page_of(None, *size) as (window, page, _):
        window.preferences.change(language=language, text_size=text_size, theme=theme)
        page.leave()
        page = page_module.RunPage(window, window.context)  # type: ignore[arg-type]
        window._stack.addWidget(page)
        window._stack.setCurrentWidget(page)
        found: list[str] = []
        for run in runs:
            await run_pages.show(page, run.path.name)
            for chart in ("loss", "memory"):
                body(page).charts.show_chart(chart)
                await settle(6)
                found += [f"{run.path.name}: {fault}" for fault in faults(page)]
        body(page).overlay.toggle(runs[0].path.name)
        await settle(8)
        found += [f"overlay: {fault}" for fault in faults(page)]
        page.leave()
        assert not found


# --- what is left of it ----------------------------------------------------------------------


@pytest.mark.parametrize(("result", "best", "said"), [("last", 40, "kept"), ("last", 100, "last")])
async def test_the_page_says_which_step_was_best(result: str, best: int, said: str) -> None:
    run = put(recipe(result=result), end=run_pages.finished(), checkpoints=(40, 100))
    for step, loss in ((40, 2.0), (100, 2.0)):
        write_validation(run.checkpoint(step), Validation(step, 1.25 if step == best else loss))
    async with page_of(run) as (_, page, context):
        await until(lambda: body(page).result.isVisible())
        words = say(f"run_ui.best_{said}", step=str(best), loss="1.250")
        assert body(page).result._best.text() == words and context.training.run(page.id).best == Validation(best, 1.25)
        assert described(context.training.run(page.id))["best"] == {"step": best, "eval_loss": 1.25}
