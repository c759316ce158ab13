"""The chat page and the models it can answer with: base models, adapters, notices, long contexts, lack of memory."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from shiboken6 import isValid

from app.services.installed import Installed
from app.ui.load.dialog import LoadDialog
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.menu import Menu
from app.ui.widgets.toast import Toast
from app.ui.window import Window
from core import paths, store
from core.load_options import LoadOptions
from core.translation import say
from tests.helpers import fake_hubs, shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


async def page_of(window: Window) -> Any:
    page: Any = window.go("chat")
    await until(lambda: page.is_open, 10)
    return page


async def ask(page: Any, words: str) -> Any:
    """The reply, once it is over."""
    before = len(page.messages)
    page.composer.box.setPlainText(words)
    page.composer.submit()
    await until(lambda: len(page.messages) == before + 2 and not page.composer.is_busy, 20)
    return page.messages[-1]


def said(area: QWidget) -> list[str]:
    return [banner.accessibleName() for banner in area.findChildren(Banner) if banner.isVisibleTo(area)]


async def test_a_base_model_is_told_and_writes_on() -> None:
    shelf_models.put(paths.models(), "base", can_chat=False)
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        page = await page_of(window)
        page.choice.take("base")
        assert said(page.standing) == [say("chat.base_title")]
        assert page.composer.box.placeholderText() == say("chat.base_hint")
        await ask(page, "words")
        assert said(page.standing) == [say("chat.base_title")]
        page.choice.take("first")
        assert said(page.standing) == [] and page.composer.box.placeholderText() == say("transcript.ask")
        page.choice.take("base")
        next(b for b in page.standing.findChildren(Button) if b.text() == say("help.why")).click()
        assert window._place == "help"
        window.go("chat")
        page.standing._close()  # closed, it stays closed for this model
        page.choice.take("first")
        page.choice.take("base")
        assert said(page.standing) == []


async def test_models_that_were_read_for_a_page_that_is_gone_reach_no_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, context):
        page = await page_of(window)
        read, installed = asyncio.Event(), context.library.installed

        async def late() -> list[Installed]:
            await read.wait()
            return await installed()

        monkeypatch.setattr(context.library, "installed", late)
        reading = asyncio.ensure_future(page.news._load_models())
        window.rebuild()
        await until(lambda: not isValid(page))
        read.set()
        await reading
        assert (await page_of(window)).choice.name == "first"


async def test_an_adapter_is_chosen_beneath_its_base_and_named_everywhere() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    shelf_models.put(paths.models(), "other")
    shelf_models.put_adapter(paths.models(), "cooking", "first")
    async with live() as (window, context):
        page = await page_of(window)
        page.choice.open_menu()
        menu = page.findChildren(Menu)[-1]
        entries = [action.text() for action in menu.actions() if action.text()]
        assert [entry.strip() for entry in entries[:3]] == ["first", "+ cooking", "other"]
        menu.close()
        page.choice.take("cooking")
        loaded: list[str] = []
        context.inference.changed.listen(lambda state: loaded.append(state.phase))
        reply = await ask(page, "echo")
        assert json.loads(reply.text)["adapter"] == str(paths.models() / "cooking")
        named = say("chat.with_adapter", base="first", adapter="cooking")
        assert page.model_chip.accessibleName().startswith(named) and named in window.status._model.text()
        assert loaded.count("loading") >= 1
        loaded.clear()
        page.choice.take("first")
        reply = await ask(page, "echo")
        assert "adapter" not in json.loads(reply.text) and "loading" not in loaded  # the base was not loaded again
        assert page.model_chip.accessibleName().startswith("first ·") and "cooking" not in window.status._model.text()


async def test_notices_stand_where_they_belong() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live() as (window, context):
        page = await page_of(window)
        assert page.inspector._prompt_remark.isHidden()
        await ask(page, "words")
        weak = say("notice.system_prompt_weak")
        assert page.inspector._prompt_remark.text() == weak and not page.inspector._prompt_remark.isHidden()
        assert not [toast for toast in window.findChildren(Toast) if not toast.isHidden()]  # nothing came otherwise
        context.preferences.choose_load_options("first", LoadOptions(attention="flash"))
        await ask(page, "words")
        toasts = [toast for toast in window.findChildren(Toast) if not toast.isHidden()]
        assert toasts and toasts[-1]._words == say("chat.loaded_remarks", name="first")
        next(button for button in toasts[-1].findChildren(Button) if button.text() == say("chat.show")).click()
        await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), 10)
        dialog = window.findChildren(LoadDialog)[-1]
        assert dialog.view.current == 1  # what is in memory
        told = [label.text() for label in dialog.loaded_facts.findChildren(QLabel)]
        assert say("notice.flash_without_card") in told
        assert say("notice.code_never_run", files="modeling_qwen.py") in told
        dialog.reject()
        await until(lambda: not window.findChildren(LoadDialog))


async def test_past_the_trained_length_the_context_says_what_happens() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    async with live() as (window, _):
        page = await page_of(window)
        view = page.inspector.context
        await ask(page, "long 1000")
        assert view._values["used"].text() == "1,001" and view._values["trained"].text() == "2,048"
        assert view._lines["alpha"].isHidden() and view._warning.isHidden()
        await ask(page, "long 5000")
        assert (view._values["alpha"].text(), view._values["logn"].text()) == ("7", say("context.on"))
        told = say("context.past_ntk_logn", used="5,001", trained="2,048")
        assert view._warning.text() == told and told in page.composer.meter.toolTip()
        assert told in view.bar.accessibleDescription()
        await settle(5)
        assert faults(window) == []
        page.toggle_inspector()
        assert page.inspector.isHidden()
        page.composer.meter.click()  # the ring shows what it stands for
        assert not page.inspector.isHidden()


async def test_a_lack_of_memory_offers_the_load_options() -> None:
    shelf_models.put(paths.models(), "short")
    async with live() as (window, _):
        page = await page_of(window)
        reply = await ask(page, "words")
        assert reply.error_code == "memory_too_small" and said(page.passing) == [say("chat.memory_short")]
        next(button for button in page.passing.findChildren(Button) if button.text() == say("load.open")).click()
        await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), 10)
        assert window.findChildren(LoadDialog)[-1].model == "short"
        window.findChildren(LoadDialog)[-1].reject()
        await until(lambda: not window.findChildren(LoadDialog))


async def test_a_worker_that_is_killed_while_loading_is_said_to_have_been() -> None:
    shelf_models.put(paths.models(), "killed")
    async with live() as (window, _):
        page = await page_of(window)
        reply = await ask(page, "words")
        assert reply.error_code == "worker_killed"
        assert said(page.passing) == [say("error.worker_killed", **reply.error_params)]
        told = [label.text() for label in page.passing.findChildren(QLabel) if label.isVisibleTo(page)]
        assert say("chat.memory_short") in told


async def test_a_full_context_is_named_and_leads_to_a_longer_one() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        page = await page_of(window)
        reply = await ask(page, "full")
        assert reply.state == "full"
        assert page.inspector._figures["ended_by"].text() == say("chat.ended_full")
        await settle(5)
        row = page.transcript.row(reply.id)
        next(button for button in row.findChildren(Button) if button.text() == say("load.open")).click()
        await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), 10)
        window.findChildren(LoadDialog)[-1].reject()
        await until(lambda: not window.findChildren(LoadDialog))


async def test_the_smallest_window_has_room_for_title_and_figures() -> None:
    name = "A-very-long-name-of-a-model-that-somebody-made-from-another-one-Instruct-Merged-GPTQ-Int4"
    shelf_models.put(paths.models(), name)
    async with live(1000, 640) as (window, _):
        page = await page_of(window)
        reply = await ask(page, "words and a title that is rather long for so small a window")
        page.toggle_inspector()
        await settle(10)
        assert not page.inspector.isHidden() and page._title.width() >= 100
        figures = page.transcript.row(reply.id)._figures
        assert 0 < figures.fontMetrics().horizontalAdvance(figures.text()) <= figures.width()
        foot = [part.geometry() for part in (page.composer.think, page.composer.send) if part.isVisible()]
        assert foot[0].right() < foot[-1].left() and page.composer.meter.isHidden()
        assert name in page.model_chip.accessibleName()
        page.choice.open_menu()
        menu = page.findChildren(Menu)[-1]
        assert menu.sizeHint().width() < 520 and menu.actions()[0].toolTip() == name
        menu.close()


async def test_an_adapter_is_in_use_too() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    shelf_models.put_adapter(paths.models(), "cooking", "first")
    async with live() as (window, context):
        page = await page_of(window)
        page.choice.take("cooking")
        await ask(page, "echo")
        await until(lambda: not context._noting)
        known = await context.store.call(lambda s: store.models.known(s))
        assert {model.name for model in known if model.last_used} == {"first", "cooking"}


class Shows(QObject):
    """Which windows are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
            self.names.append(type(watched).__name__)
        return False


async def test_no_part_of_a_page_is_ever_a_window_of_its_own() -> None:
    """It would flash on the screen and take the focus away."""
    shelf_models.put(paths.models(), "base", can_chat=False)
    async with live() as (window, context):
        context.discovery = fake_hubs.FakeDiscovery(context.discovery)
        context.downloads.items = [fake_hubs.item(number, f"Qwen3-{number}B") for number in range(4)]
        shows = Shows()
        QApplication.instance().installEventFilter(shows)  # type: ignore[union-attr]
        window.preferences.change(language="zh")  # builds every page anew
        page = await page_of(window)
        page.choice.take("base")
        for place in ("models", "finetune", "tokenizer", "help", "settings"):
            shown: Any = window.go(place)
            await settle(10)
            for view in ("discover", "downloads", "installed") if place == "models" else ():
                shown.show_view(view)
                await settle(40)
        window.ask_load("base")
        await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), 10)
        window.findChildren(LoadDialog)[-1].reject()
        await until(lambda: not window.findChildren(LoadDialog))
        QApplication.instance().removeEventFilter(shows)  # type: ignore[union-attr]
        assert set(shows.names) == {"LoadDialog"}
        context.downloads.items = []


async def test_an_adapter_that_names_no_model_is_given_one(tmp_path: Path) -> None:
    shelf_models.put(paths.models(), "Qwen3-tiny")
    folder = shelf_models.adapter_folder(tmp_path / "poems", "somebody/unknown")
    async with live() as (window, context):
        page: Any = window.go("models")
        await until(lambda: bool(page.installed.models))
        await page.take(folder)
        assert page.failed() == say("error.adapter_base_unknown", name="poems", base="somebody/unknown")
        taken: list[tuple[Path, str]] = []

        async def take(path: Path, *, base: str = "") -> None:  # the real one needs seconds for its libraries
            taken.append((path, base))

        context.library.take = take  # type: ignore[assignment, method-assign]
        next(b for b in page.findChildren(Button) if b.text() == say("models.choose_base")).click()
        menu = page.findChildren(Menu)[-1]
        menu.actions()[0].trigger()
        menu.close()
        await until(lambda: bool(taken))
        assert taken == [(folder, "Qwen3-tiny")]
        await until(lambda: not page.failed())


async def test_the_details_name_what_an_adapter_is_and_what_a_model_brings() -> None:
    code = ("modeling_qwen.py",)
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B, code_files=code)
    shelf_models.put_adapter(paths.models(), "poems", "first")
    (paths.models() / "first" / "LICENSE").write_text("terms")
    async with live() as (window, _):
        page: Any = window.go("models")
        await until(lambda: len(page.installed.models) == 2)

        async def told(place: int, name: str) -> set[str]:
            page.installed.table.selectRow(place)
            await until(lambda: name in page._details)
            await settle(3)
            return {label.text() for label in page.detail.findChildren(QLabel) if label.isVisibleTo(page)}

        adapter = await told(1, "poems")
        assert {"LoRA", "first", say("models.rank_alpha", rank=8, alpha="16"), "q_proj, v_proj"} <= adapter
        model = await told(0, "first")
        assert {say("family.qwen"), "modeling_qwen.py", "poems", say("models.licence_first")} <= model
        assert {say("models.tokens", count="8,192"), say("models.tokens", count="32,768")} <= model
        assert {say("notice.system_prompt_weak"), say("notice.qwen_v1_no_window_attention")} <= model
        await until(lambda: page.detail._entries.text() == say("models.entries_rows", entries="1,851", rows="1,936"))
        assert any(button.text() == say("models.read_licence") for button in page.detail.findChildren(Button))
