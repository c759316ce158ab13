"""The help page: every answer opens, is found, and leads to where it can be seen."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.services import questions
from app.ui.widgets.button import Button
from app.ui.window import Window
from core import paths
from core.errors import UserError
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


async def page_of(window: Window) -> Any:
    page: Any = window.go("help")
    await until(lambda: page.is_ready, 10)
    return page


def places(page: Any) -> list[str]:
    return [one for one, entry in page.entries.items() if not entry.isHidden()]


async def test_every_answer_opens_and_leads_to_a_place_that_is_there() -> None:
    shelf_models.put(paths.models(), "first")
    async with live(1024, 700) as (window, _):
        page = await page_of(window)
        window.ask_load = lambda *_, **__: led.append("load")  # type: ignore[method-assign]
        led: list[str] = []
        for entry in page.entries.values():
            entry.row.click()
        await settle(5)
        assert faults(window) == []
        chat: Any = window.go("chat")
        await until(lambda: chat.is_open, 10)
        for entry in page.entries.values():
            if place := entry.question.place:
                window.go("help")
                led.clear()
                next(b for b in entry.findChildren(Button) if b.text() == say(f"help.go_{place}")).click()
                assert led == ["load"] if place == "load" else window._place != "help", place
        assert not chat.inspector.isHidden()  # "inspector" and "context" show it where it is hidden


async def test_search_and_keys() -> None:
    async with live() as (window, _):
        page = await page_of(window)
        everything = places(page)
        assert len(everything) == len(questions.catalogue().questions)
        page.search.setText("int8 kv")
        await until(lambda: len(places(page)) < len(everything))
        assert "kv_int8" in places(page)
        page.search.setText("zzz")
        await until(lambda: not places(page))
        assert page._none.isVisible()
        page.show_question("lfs_pointer")  # ends the search
        await settle(3)
        entry = page.entries["lfs_pointer"]
        assert places(page) == everything and entry.row.isChecked() and entry.row.hasFocus()
        QTest.keyClick(entry.row, Qt.Key.Key_Down)
        assert page.entries["licence"].row.hasFocus()
        QTest.keyClick(page.entries["licence"].row, Qt.Key.Key_Return)
        assert page.entries["licence"].row.isChecked()


async def test_an_error_leads_to_its_answer() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        models: Any = window.go("models")
        models.tell(UserError("lfs_pointer", file="qwen.tiktoken"))
        next(button for button in models.findChildren(Button) if button.text() == say("help.why")).click()
        page = await page_of(window)
        await until(lambda: page.entries["lfs_pointer"].row.isChecked())
