"""The load dialog in the real window: choices move the memory bar, are kept, load, and what came of it is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.services import machine
from app.ui.load.choices import sentences
from app.ui.load.dialog import LoadDialog
from app.ui.status_bar import Part
from app.ui.widgets.button import Button
from app.ui.window import Window
from core import figures, paths
from core.hardware import Memory
from core.load_options import DEFAULT, LoadOptions
from core.profiling import form_speeds
from core.profiling.form_speeds import FormSpeeds
from core.translation import LANGUAGES, catalogue, say
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


def test_every_choice_is_explained_in_both_languages() -> None:
    for language in LANGUAGES:
        assert set(sentences()) - {"load.weights_auto_means"} <= set(catalogue(language))


async def opened(window: Window, model: str) -> LoadDialog:
    window.ask_load(model)
    await until(lambda: any(dialog.is_ready or dialog.failure() for dialog in window.findChildren(LoadDialog)), 10)
    return window.findChildren(LoadDialog)[-1]


async def closed(window: Window) -> None:
    for dialog in window.findChildren(LoadDialog):
        dialog.reject()
    await until(lambda: not window.findChildren(LoadDialog))


def choose(dialog: LoadDialog, field: str, value: str) -> None:
    """As the arrow keys of the row do."""
    row = dialog.choices.rows[field]
    row.control.setFocus()
    for _ in range(10):
        QTest.keyClick(row.control, Qt.Key.Key_Left)
    while getattr(dialog.choices.options, field) != value:
        QTest.keyClick(row.control, Qt.Key.Key_Right)


async def test_what_was_measured_of_this_processor_stands_beside_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read", lambda: machine.Reading(None, Memory(34_000_000_000, 12_000_000_000)))
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    found, versions = form_speeds.made_on()
    seconds = {"bfloat16": 0.006, "int8": 0.002, "int4": 0.001}
    form_speeds.keep(FormSpeeds(found, versions, 1, seconds, True, datetime(2026, 3, 4, 12, tzinfo=UTC)))
    async with live() as (window, _context):
        dialog = await opened(window, "first")
        weights = dialog.choices.rows["weights"].control
        assert say("load.form_better", form="Int8", times="3.0", day="2026-03-04") in weights.toolTip()
        choose(dialog, "weights", "int4")
        assert say("load.form_gain", times="6.0", day="2026-03-04") in weights.toolTip()
        choose(dialog, "weights", "nf4")
        assert weights.toolTip() == say("load.weights_nf4_means"), "what was not measured is not told"
        await closed(window)


async def test_choices_move_the_memory_bar_and_are_kept_for_the_model() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live() as (window, context):
        dialog = await opened(window, "first")
        stored = dialog.memory.bar.needed
        choose(dialog, "weights", "int4")
        assert dialog.memory.bar.needed < stored / 1.2
        smaller = dialog.memory.bar.needed
        choose(dialog, "kv_cache", "int8")
        assert dialog.memory.bar.needed < smaller
        told = dialog.choices.rows["kv_cache"].control.toolTip()
        assert told == say("load.kv_cache_int8_means", tokens="128")  # of its own, by what a token takes
        assert dialog.choices.length is not None
        smaller = dialog.memory.bar.needed
        dialog.choices.length.spin.setValue(4096)
        assert dialog.memory.bar.needed < smaller
        assert figures.size(dialog.memory.bar.needed) in dialog.memory.bar.accessibleDescription()
        await settle(5)
        assert faults(dialog) == []
        assert context.preferences.load_options("first") == DEFAULT  # nothing is kept by looking
        dialog.keep.click()
        await closed(window)
        chosen = LoadOptions(weights="int4", kv_cache="int8", context_length=4096)
        assert context.preferences.load_options("first") == chosen
        again = await opened(window, "first")
        assert again.choices.options == chosen and again.choices.length and again.choices.length.spin.value() == 4096
        again.defaults.click()
        assert again.choices.options == DEFAULT and again.choices.length.spin.value() == 32_768
        again.keep.click()
        assert context.preferences.settings.load_options == {}
        await closed(window)


async def test_a_model_is_loaded_and_the_report_names_what_came_of_it() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live() as (window, context):
        dialog = await opened(window, "first")
        assert dialog.view.isHidden()  # nothing is in memory yet
        choose(dialog, "kv_cache", "int8")
        QTest.keyClick(dialog, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
        await until(lambda: dialog.progress.isVisible())
        await until(lambda: not dialog.is_loading, 20)
        assert context.inference.state.name == "first"
        assert context.inference.state.options == LoadOptions(kv_cache="int8")
        await until(lambda: dialog.view.current == 1)
        told = "\n".join(label.text() for label in dialog.loaded_facts.findChildren(type(dialog.memory.words)))
        assert say("reason.no_card_for_torch") in told
        assert say("load.context_trained", limit="8,192", trained="2,048") in told
        assert say("notice.system_prompt_weak") in told and say("family.qwen") in told
        assert "modeling_qwen.py" in told
        await settle(5)
        assert faults(dialog) == []
        await closed(window)


async def test_what_cannot_be_loaded_is_told_and_can_be_tried_otherwise() -> None:
    shelf_models.put(paths.models(), "short")
    shelf_models.put(paths.models(), "cut")
    file = paths.models() / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    async with live() as (window, context):
        dialog = await opened(window, "short")
        dialog.load.click()
        await until(lambda: bool(dialog.failure()), 20)
        assert dialog.failure() == say("error.memory_too_small", needed="15 GB", free="3 GB")
        assert dialog.choices.isEnabled() and dialog.load.isVisible()
        await closed(window)
        dialog = await opened(window, "cut")
        assert dialog.failure() == say("error.safetensors_truncated", file="model.safetensors")
        await closed(window)
        assert context.inference.state.phase == "none"


async def test_loading_can_be_given_up_and_a_dialog_closed_at_any_moment() -> None:
    shelf_models.put(paths.models(), "endless")
    async with live() as (window, context):
        window.ask_load("endless")
        await asyncio.sleep(0)
        await until(lambda: bool(window.findChildren(LoadDialog)))
        await closed(window)  # while it is still being built
        dialog = await opened(window, "endless")
        dialog.load_now()
        await until(lambda: context.inference.state.progress is not None, 10)
        dialog.progress.cancelled.emit()
        await until(lambda: not dialog.is_loading, 10)
        assert not dialog.failure() and context.inference.state.phase == "none" and dialog.load.isVisible()
        dialog.load_now()
        await until(lambda: context.inference.state.progress is not None, 10)
        await closed(window)  # goes on without it
        assert context.inference.state.phase == "loading"
        await context.inference.unload()


async def test_the_options_are_reached_from_everywhere_a_model_is_named() -> None:
    shelf_models.put(paths.models(), "Qwen3-tiny")
    async with live() as (window, _):
        chat: Any = window.go("chat")
        await until(lambda: chat.is_open, 10)
        chat.choice.take("Qwen3-tiny")
        models: Any = window.go("models")
        await until(lambda: models.installed.model() is not None)
        status = next(part for part in window.status.findChildren(Part) if part.toolTip() == say("status.model_hint"))
        question: Any = window.go("help")
        await until(lambda: question.is_ready)
        question.show_question("memory")
        answer = next(one for one in question.findChildren(Button) if one.text() == say("help.go_load"))
        for click in (status.click, chat.model_chip.click, lambda: models.detail.asked.emit("load"), answer.click):
            click()
            await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), 10)
            assert window.findChildren(LoadDialog)[-1].model == "Qwen3-tiny"
            await closed(window)


async def test_a_context_that_is_too_short_becomes_the_least_which_is_named() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live() as (window, _):
        dialog = await opened(window, "first")
        length = dialog.choices.length
        assert length is not None
        assert length.range.text() == say("load.context_range", least="512", most=figures.count(length.spin.maximum()))
        length.spin.selectAll()
        QTest.keyClicks(length.spin.lineEdit(), "100")
        QTest.keyClick(length.spin, Qt.Key.Key_Return)
        assert dialog.choices.options.context_length == 512
        await closed(window)
