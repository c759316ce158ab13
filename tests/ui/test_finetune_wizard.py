"""The way from a dropped file to a training, in the real window with the real data worker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QLabel, QLineEdit

from app.services import machine
from app.services.gpu_lease import GpuLease, held_by_process
from app.services.inference import ModelState
from app.ui.models.consent import Question
from app.ui.training_run.words import times
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.menu import Menu
from app.ui.widgets.toast import Toast
from app.ui.window import Window
from core import figures, paths
from core.hardware import Memory
from core.protocol.messages import ModelLoaded
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.finetune_page import data_file, dropped, fake_training, finetune, put_model, step_of
from tests.helpers.live_window import settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
QUANTISED = shelf_models.TINY | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}


def free_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    free = int(gigabytes * 1e9)

    async def read() -> machine.Reading:
        return machine.Reading(None, Memory(32_000_000_000, 32_000_000_000 - free))

    monkeypatch.setattr(machine, "read", read)


async def test_a_dropped_file_becomes_a_run(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (window, page, context):
        fake_training(context, tmp_path)
        draft = context.finetune_draft
        await dropped(page, context, data_file(tmp_path))
        assert draft.recipe.model == "little"  # the only one there is
        for step in ("method", "settings", "review"):
            await step_of(page, step)
            assert draft.step == step
        review = page.wizard.steps["review"]
        assert review.facts["time"] == say("finetune_ui.plan_time_unknown")
        assert review.command.toml.toPlainText().startswith('model = "little"')
        assert page.wizard.next.text() == say("finetune_ui.start") and page.wizard.next.isEnabled()
        page.wizard.go_on()
        await until(lambda: page.view == "run", 20)
        run = page.run_page.run
        assert json.loads((run.path / "origin.json").read_text())["model"] == "little"
        await until(lambda: page.run_page.run.status.state == "finished", 20)
        await settle(5)
        assert faults(window) == [] and not draft.is_begun
        page.show_runs()
        assert [one.id for one in page.runs.runs] == [run.id]
        assert context.training.speed("little", "lora") == 100.0  # the next plan knows how long it takes


async def test_nothing_can_be_skipped_and_the_reason_stands_beside_the_button() -> None:
    put_model("one")
    put_model("other")
    shelf_models.put_adapter(paths.models(), "cooking", "one")
    async with finetune() as (_, page, context):
        page.new()
        model = await step_of(page, "model")
        await until(lambda: len(model.bases) == 2)
        wizard = page.wizard
        assert not wizard.next.isEnabled() and wizard.hint.text() == say("finetune_ui.needs_model")
        assert "cooking" in model.left_out.text() and not context.finetune_draft.is_begun
        model.table.selectRow(1)
        assert context.finetune_draft.recipe.model == "other" and wizard.next.isEnabled()
        wizard.stepper.chosen.emit(4)  # as far as it goes
        assert context.finetune_draft.step == "data" and wizard.hint.text() == say("finetune_ui.needs_data")


async def test_without_a_model_the_starter_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with finetune() as (window, page, _):
        page.new()
        model = await step_of(page, "model")
        await until(lambda: model.empty.isVisible())
        asked: list[str] = []
        models = window.go("models")
        monkeypatch.setattr(models, "pull_starter", lambda: asked.append("starter"), raising=False)
        window.go("finetune")
        model.starter.click()
        assert asked and window._place == "models"


async def test_every_choice_moves_the_bar_and_closed_ways_say_why(tmp_path: Path) -> None:
    put_model("big", shelf_models.QWEN_7B)
    put_model("packed", QUANTISED)
    async with finetune() as (_, page, context):
        await dropped(page, context, data_file(tmp_path))
        draft, bar = context.finetune_draft, page.wizard.memory.bar
        draft.choose_model("big")
        await until(lambda: not draft.is_checking, 20)
        method = await step_of(page, "method")
        needed = bar.needed
        method.cards["qlora"].click()
        assert draft.recipe.method == "qlora" and bar.needed < needed / 1.5
        method.cards["full"].click()
        assert bar.needed > needed * 2
        method.cards["lora"].click()
        settings = await step_of(page, "settings")
        settings.more.click()
        await until(lambda: "prompts" in settings.rows, 10)
        edit = settings.rows["rank"].control
        assert isinstance(edit, QLineEdit) and edit.text() == "16"
        needed = bar.needed
        edit.setText("128")
        edit.editingFinished.emit()
        assert draft.recipe.rank == 128 and bar.needed > needed
        edit.setText("none")
        edit.editingFinished.emit()
        assert draft.recipe.rank == 128 and settings.rows["rank"]._wrong.text()
        assert settings.rows["packing"].control.isChecked() and settings.rows["weights"].isHidden()
        draft.choose_model("packed")
        assert draft.recipe.method == "qlora"  # the only way
        method = await step_of(page, "method")
        assert not method.cards["full"].isEnabled()
        assert method.cards["full"].refusal.text() == say("finetune_ui.full_of_quantised")
        method.choose("full")
        assert draft.recipe.method == "qlora"


async def test_a_preset_sets_how_and_never_what(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (_, page, context):
        await dropped(page, context, data_file(tmp_path))
        draft, settings = context.finetune_draft, await step_of(page, "settings")
        before = draft.recipe
        settings.preset._choose(say("preset.qwen_lora_single_gpu"))
        assert (draft.recipe.rank, draft.recipe.mask, draft.recipe.epochs) == (64, "original", 5.0)
        assert (draft.recipe.data, draft.recipe.model) == (before.data, before.model)
        assert settings.preset.text() == say("preset.qwen_lora_single_gpu")
        draft.change(epochs=4.0)
        assert settings.preset.text() == say("finetune_ui.preset_own")


async def test_where_steps_decide_settings_and_review_say_the_same(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (_, page, context):
        await dropped(page, context, data_file(tmp_path))
        draft, settings = context.finetune_draft, await step_of(page, "settings")
        row = settings.rows["epochs"]
        assert row.control.isEnabled() and row._overruled is None
        steps = max(1, round(draft.plan().steps_of_epoch / 2))
        draft.change(steps=steps)
        often = times(steps / draft.plan().steps_of_epoch)
        said = say("finetune_ui.steps_decide_times", steps=str(steps), epochs=often)
        assert not row.control.isEnabled() and row._overruled.text() == said
        await settle(5)
        assert faults(page) == []
        review = await step_of(page, "review")
        assert f"{often} times over the data" in review.facts["steps"]
        settings = await step_of(page, "settings")
        words = say("finetune_ui.reclaim_epochs")
        next(one for one in row.findChildren(Button) if one.text() == words).click()
        assert draft.recipe.steps == 0 and row.control.isEnabled() and not row._overruled_part.isVisible()


async def test_the_size_of_an_adapter_and_whole_lines_of_the_recipe(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (_, page, context):
        await dropped(page, context, data_file(tmp_path))
        method = await step_of(page, "method")
        size = figures.size(4 * context.finetune_draft.plan("lora").trained)
        assert f"in a file of {size} that" in method.cards["lora"].meaning.text()
        context.finetune_draft.change(rank=64)
        assert f"in a file of {size} that" not in method.cards["lora"].meaning.text()
        review = await step_of(page, "review")
        toml = review.command.toml
        line = toml.document().firstBlock().layout().boundingRect().height()
        shown = toml.viewport().height() - toml.contentOffset().y()
        assert shown % line < 2 and shown > 10 * line


async def test_what_is_said_of_the_data_goes_with_its_step(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (window, page, context):
        await dropped(page, context, data_file(tmp_path))
        window.notify("ok", "197 of 200 rows", page=page.wizard.steps["data"])
        assert window.findChildren(Toast)
        await step_of(page, "method")
        await until(lambda: not window.findChildren(Toast))


async def test_what_is_too_big_is_made_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 14)
    put_model("big", shelf_models.QWEN_7B)
    async with finetune() as (window, page, context):
        await dropped(page, context, data_file(tmp_path))
        draft, wizard = context.finetune_draft, page.wizard
        review = await step_of(page, "review")
        assert draft.plan().verdict == "too_big" and wizard.memory.fit.isVisible()
        first = next(iter(review.fit.buttons))
        saves = draft.proposals()[0].saves
        needed = draft.plan().footprint.total
        review.fit.buttons[first].click()
        assert draft.plan().footprint.total == needed - saves
        draft.change(method="lora")
        wizard.memory.fit.click()
        assert draft.plan().verdict == "fits" and draft.recipe.method == "qlora" and wizard.memory.fit.isHidden()
        undo = next(one for one in window.findChildren(Button) if one.text() == say("chat.undo"))
        undo.click()
        assert draft.recipe.method == "lora"
        free_memory(monkeypatch, 1)
        await draft.measure()
        wizard.memory.fit.click()
        assert draft.recipe.method == "lora"  # nothing is enough, so nothing is changed
        assert wizard.hint.text() == say("finetune_ui.would_stop")
        context.inference.state = ModelState("ready", "big")  # and it is in memory for chatting
        review.enter()
        await settle(5)
        assert say("finetune_ui.chat_loaded", name="big") in [
            one.accessibleName() for one in review.findChildren(Banner)
        ]
        assert faults(window) == []
        context.inference.state = ModelState()


async def test_another_language_and_another_page_keep_what_was_begun(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (window, page, context):
        await dropped(page, context, data_file(tmp_path))
        draft = context.finetune_draft
        draft.change(epochs=7.0)
        await step_of(page, "settings")
        window.go("chat")
        window.preferences.change(language="zh")
        again = window.go("finetune")
        await until(lambda: again.is_open and again.view == "wizard", 10)
        settings = await step_of(again, draft.step)
        assert draft.step == "settings" and draft.recipe.epochs == 7.0
        assert settings.rows["epochs"].control.text() == "7"
        again.wizard.discard.click()
        assert not draft.is_begun and again.view == "runs"
        undo = next(one for one in window.findChildren(Button) if one.text() == say("chat.undo"))
        undo.click()
        assert draft.recipe.epochs == 7.0 and draft.report is not None


async def test_a_run_is_paused_resumed_removed_and_brought_back(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (window, page, context):
        fake_training(context, tmp_path, steps=100_000)
        await dropped(page, context, data_file(tmp_path))
        await step_of(page, "review")
        page.wizard.go_on()
        await until(lambda: page.view == "run" and page.run_page.head.buttons["pause"].isVisible(), 20)
        await until(lambda: window.rail.items[2].busy)
        page.run_page.head.buttons["pause"].click()
        await until(lambda: page.run_page.head.buttons["resume"].isVisible(), 20)
        page.run_page.head.buttons["resume"].click()
        await until(lambda: page.run_page.head.buttons["stop"].isVisible(), 20)
        page.run_page.head.buttons["stop"].click()
        await until(lambda: page.run_page.run.status.state == "finished", 20)
        page.run_page.actions_.act("remove", page.run_page.run)
        await until(lambda: page.view == "runs" and not page.runs.runs, 10)
        undo = next(one for one in window.findChildren(Button) if one.text() == say("chat.undo"))
        undo.click()
        await until(lambda: len(page.runs.runs) == 1, 10)


async def test_what_lora_left_can_leave_in_four_bits() -> None:
    put_model("little")
    shelf_models.put_adapter(paths.models(), "cooking", "little")
    async with finetune() as (window, page, _):
        for name, key in (("cooking", "merged_int4"), ("little", "int4")):
            page._leaving.export(name)
            menu = window.findChildren(Menu)[-1]
            assert menu.actions()[-1].text() == say(f"finetune_ui.export_{key}")
            menu.close()


async def asked(window: Window) -> Question:
    await until(lambda: any(one.isVisible() for one in window.findChildren(Question)), 10)
    return next(one for one in window.findChildren(Question) if one.isVisible())


def unloading(context: Any, monkeypatch: pytest.MonkeyPatch, done: Callable[[], None]) -> list[str]:
    """A model that is loaded, as far as the window knows; what was unloaded."""
    gone: list[str] = []

    async def unload() -> None:
        gone.append(context.inference.state.name)
        context.inference.state = ModelState()
        done()

    facts = ("no_card_for_torch", "float32", "precision_as_stored", 1, 2_400_000_000)
    loaded = ModelLoaded("", "talker", "Fake", "cpu", *facts, 4096, True, True, 0.1)
    context.inference.state = ModelState("ready", "talker", None, loaded)
    monkeypatch.setattr(context.inference, "unload", unload)
    return gone


async def test_a_chat_model_makes_room_when_that_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_model("big", shelf_models.QWEN_7B)
    async with finetune() as (window, page, context):
        fake_training(context, tmp_path)
        await dropped(page, context, data_file(tmp_path))
        await step_of(page, "review")
        free_memory(monkeypatch, 3)
        gone = unloading(context, monkeypatch, lambda: free_memory(monkeypatch, 30))
        page.wizard.go_on()
        dialog = await asked(window)
        words = " ".join(one.text() for one in dialog.findChildren(QLabel))
        assert all(word in words for word in ("talker", "2.4 GB", "3.0 GB"))  # it, what it holds, what is free
        dialog.reject()
        await until(lambda: page.wizard._starting is None)
        assert not gone and context.training.runs == [] and context.finetune_draft.is_begun
        page.wizard.go_on()
        (await asked(window)).go.click()
        await until(lambda: page.view == "run", 20)
        assert gone == ["talker"]
        await until(lambda: page.run_page.run.status.state == "finished", 20)


async def test_on_a_card_the_chat_model_makes_room_or_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model("little")
    async with finetune() as (window, page, context):
        fake_training(context, tmp_path)
        lease = context.training._lease = GpuLease(lambda: ("0",))
        lease.take(["0"], held_by_process("chat", "talker", os.getppid(), 2_400_000_000))
        await dropped(page, context, data_file(tmp_path))
        await step_of(page, "review")
        page.wizard.go_on()  # another program has it
        await until(lambda: "talker" in page.wizard.failed())
        assert "2.4 GB" in page.wizard.failed() and context.training.runs == []
        gone = unloading(context, monkeypatch, lambda: lease.give_back(os.getppid()))
        page.wizard.go_on()
        dialog = await asked(window)
        assert say("finetune_ui.room_beside") not in [one.text() for one in dialog.findChildren(Button)]
        dialog.go.click()
        await until(lambda: page.view == "run", 20)
        assert gone == ["talker"] and len(context.training.runs) == 1
        await until(lambda: page.run_page.run.status.state == "finished", 20)
