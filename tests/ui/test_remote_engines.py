"""Other machines in the window: added with a check, chosen in the chat, stopped, removed and brought back."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtWidgets import QLabel

from app.ui.remote.dialog import RemoteDialog
from app.ui.remote.engine_dialog import EngineDialog
from app.ui.widgets.button import Button
from app.ui.widgets.menu import Menu
from app.ui.widgets.toast import Toast
from app.ui.window import Window
from core import paths
from core.remote_engine import RemoteEngine, RemoteModel
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.remote_server import RemoteServer
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
KEY = "sk-of-the-cluster"


async def page_of(window: Window) -> Any:
    page: Any = window.go("chat")
    await until(lambda: page.is_open, 10)
    return page


async def dialog_of(window: Window) -> tuple[RemoteDialog, EngineDialog]:
    """As a person comes to it who has no machine yet."""
    window.go("chat").choice.open_menu()  # type: ignore[union-attr]
    menu = window.findChildren(Menu)[-1]
    next(entry for entry in menu.actions() if entry.text() == say("remote.other_machine")).trigger()
    menu.close()
    await until(lambda: window.findChildren(RemoteDialog))
    dialog = window.findChildren(RemoteDialog)[0]
    dialog.engines.ask_new()
    await until(lambda: any(one.isVisible() for one in window.findChildren(EngineDialog)))
    return dialog, window.findChildren(EngineDialog)[0]


async def close(window: Window) -> None:
    await until(lambda: any(dialog.isVisible() for dialog in window.findChildren(RemoteDialog)))
    window.findChildren(RemoteDialog)[0].accept()
    await until(lambda: not window.findChildren(RemoteDialog))


def typed(dialog: EngineDialog, url: str, key: str) -> None:
    for field, words in ((dialog.url, url), (dialog.key, key)):
        field.clear()
        field.insert(words)
        field.textEdited.emit(words)


def menu_of(page: Any) -> list[tuple[str, bool]]:
    page.choice.open_menu()
    menu = page.findChildren(Menu)[-1]
    entries = [(entry.text(), entry.isEnabled()) for entry in menu.actions() if entry.text()]
    menu.close()
    return entries


async def test_a_machine_is_added_chatted_with_and_stopped() -> None:
    with RemoteServer(plan=["endless", "thinking"], key=KEY) as server:
        async with live() as (window, context):
            grown: list[str] = []
            context.chat.reply_grew.listen(lambda news: grown.append(news.text))
            page = await page_of(window)
            assert page.composer.reason.text() == say("chat.fetch_first")
            machines, dialog = await dialog_of(window)
            assert not dialog.save.isEnabled()
            typed(dialog, server.address, "wrong")
            dialog.check.click()
            refused = say("remote.check_key_refused", host=server.host)
            await until(lambda: refused in [label.text() for label in dialog.findChildren(QLabel)])
            assert not dialog.save.isEnabled()
            typed(dialog, server.address, KEY)
            dialog.check.click()
            await until(dialog.save.isEnabled)
            assert dialog.url.text() == f"{server.address}/v1", "where the API really lies"
            assert [model.id for model in dialog.ticks.chosen()] == ["Qwen/Qwen3-32B"]
            dialog.name.setText("lab")
            await settle(5)
            assert faults(dialog) == []
            dialog.save.click()
            await until(lambda: "lab" in machines.engines.rows)
            assert KEY not in paths.settings_file().read_text("utf-8")
            await settle(5)
            assert faults(machines) == []
            await close(window)

            page.choice.take("lab/Qwen3-32B")
            assert page.composer.reason.text() == "" and say("remote.chip") in page.model_chip.accessibleName()
            page.composer.box.setPlainText("What is the moon?")
            page.composer.submit()
            await until(lambda: "好" in "".join(grown))
            assert page.composer.is_busy
            page.actions_.stop()
            await until(lambda: not page.composer.is_busy)
            assert (page.messages[-1].state, page.messages[-1].text) == ("stopped", "It is 好")
            await until(server.left.is_set)
            assert page.messages[-1].figures.is_about
            assert page.inspector._figures["reply"].text() == say("remote.about", count="2")

            page.actions_.for_message("regenerate", page.messages[-1].id)
            await until(lambda: page.messages[-1].state == "done")
            assert page.messages[-1].thinking == "Let me see."
            await until(lambda: page.composer.think.isVisible())
            assert "40k" in page.composer.meter._words
            assert context.inference.state.phase == "none"
            await settle(5)
            assert faults(window) == []


async def test_a_remote_model_stands_beside_those_of_this_machine() -> None:
    shelf_models.put(paths.models(), "first")
    with RemoteServer(plan=["strict"]) as server:
        async with live() as (window, context):
            models = (RemoteModel("Qwen/Qwen3-32B"), RemoteModel("taught"))
            await context.remote.keep(RemoteEngine("lab", f"{server.address}/v1", models))
            page = await page_of(window)
            entries = menu_of(page)
            heading = entries.index((say("remote.title"), False))
            assert entries[heading + 1 : heading + 3] == [("lab/Qwen3-32B", True), ("lab/taught", True)]
            assert entries[0] == ("first", True) and (say("load.open"), True) in entries
            page.choice.take("lab/taught")
            assert say("load.open") not in dict(menu_of(page))
            assert page.inspector.context._unknown.text() == say("remote.context_unknown")
            page.choice.ask_load()  # the key of the load options: how it is reached
            await close(window)
            page.composer.box.setPlainText("What is the moon?")
            page.composer.submit()
            await until(lambda: len(page.messages) == 2 and not page.composer.is_busy)
            told = say("notice.remote_fields_refused", name="lab/taught", fields="top_k, repetition_penalty")
            assert told in [toast._words for toast in window.findChildren(Toast)]
            page.choice.take("first")
            assert page.inspector.context._unknown.isHidden()


async def test_a_machine_is_removed_and_brought_back_with_its_key() -> None:
    with RemoteServer(key=KEY) as server:
        async with live() as (window, context):
            page = await page_of(window)
            engine = RemoteEngine("lab", f"{server.address}/v1", (RemoteModel("taught"), RemoteModel("gone")))
            await context.remote.keep(engine, KEY)
            page.choice.take("lab/taught")
            window.ask_remote()
            await until(lambda: window.findChildren(RemoteDialog))
            machines = window.findChildren(RemoteDialog)[0].engines
            await until(lambda: "lab" in machines.rows)
            row = machines.rows["lab"]
            row.check.click()
            await until(lambda: row.told)
            assert row.told == say("remote.model_missing", host=server.host, model="gone")
            row.remove.click()
            await until(lambda: not context.remote.engines and not machines._empty.isHidden())
            assert page.composer.reason.text() == say("chat.fetch_first")
            assert await context.remote.kept_key(engine.url) == ""
            undo = window.findChildren(Toast)[-1].findChildren(Button)
            next(button for button in undo if button.text() == say("remote.undo")).click()
            await until(lambda: context.remote.engines == (engine,))
            assert await context.remote.kept_key(engine.url) == KEY
            assert page.composer.reason.text() == ""
            await close(window)


async def test_a_machine_is_changed_and_its_key_stays_with_its_address() -> None:
    with RemoteServer(key=KEY) as server:
        async with live() as (window, context):
            await page_of(window)
            engine = RemoteEngine("lab", f"{server.address}/v1", (RemoteModel("taught"),))
            await context.remote.keep(engine, KEY)
            window.ask_remote()
            await until(lambda: window.findChildren(RemoteDialog) and window.findChildren(RemoteDialog)[0].engines.rows)
            machines = window.findChildren(RemoteDialog)[0].engines
            machines.rows["lab"].change.click()
            await until(lambda: any(one.isVisible() for one in window.findChildren(EngineDialog)))
            dialog = window.findChildren(EngineDialog)[0]
            assert dialog.key.text() == "" and dialog.key.placeholderText() == say("remote.key_kept")
            assert dialog.save.isEnabled(), "another name needs no check"
            typed(dialog, "http://elsewhere.example", "")
            assert dialog.key.placeholderText() == say("remote.key_hint"), "it was kept for another address"
            assert not dialog.save.isEnabled() and dialog._open.isVisible()
            typed(dialog, server.address + "/v1", "")
            dialog.check.click()  # with the key that is kept
            await until(dialog.save.isEnabled)
            assert [model.id for model in dialog.ticks.chosen()] == ["taught"], "what was ticked stays ticked"
            dialog.name.setText("cluster")
            dialog.save.click()
            await until(lambda: list(machines.rows) == ["cluster"])
            assert context.remote.names == ["cluster/taught"]
            assert await context.remote.kept_key(engine.url) == KEY
            machines.rows["cluster"].change.click()
            await until(lambda: any(one.isVisible() for one in window.findChildren(EngineDialog)))
            dialog = next(one for one in window.findChildren(EngineDialog) if one.isVisible())
            dialog.forget.click()
            assert dialog.new_key == "" and dialog.forget.isHidden() and not dialog.save.isEnabled()
            dialog.check.click()
            missing = say("remote.check_key_missing", host=server.host)
            await until(lambda: dialog._trouble.text() == missing)
            dialog.reject()
            await until(lambda: not window.findChildren(EngineDialog))
            await close(window)


async def test_the_server_page_has_them_beside_this_programs_own_server() -> None:
    async with live(1000, 640) as (window, context):
        page: Any = window.go("server")
        page.show_view("machines")
        await settle(3)
        assert not page.turn.isVisible() and page.machines is not None and page.machines.isVisible()
        await context.remote.keep(RemoteEngine("cluster", "http://127.0.0.1:9/v1", (RemoteModel("Qwen3-32B"),)))
        await until(lambda: list(page.machines.rows) == ["cluster"])
        await settle(3)
        assert faults(page) == []
        page.show_view("local")
        assert page.turn.isVisible() and not page.machines.isVisible()
