"""Keys pressed in the real window, and where the focus goes: wherever it is, every key does what the sheet says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication

from app.ui import shortcuts
from app.ui.window import PAGES, Window
from core import paths
from tests.helpers import shelf_models
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


def press(window: Window, place: str, action: str) -> None:
    """The key of an action, as it comes from the keyboard: to whatever has the focus."""
    pressed = QKeySequence(shortcuts._KEYS[place, action])[0]
    QTest.keyClick(QApplication.focusWidget() or window, pressed.key(), pressed.keyboardModifiers())


def live_keys(window: Window) -> Counter[str]:
    """How many claim each key now."""
    found = [shortcut for shortcut in window.findChildren(QShortcut) if shortcut.isEnabled()]
    claims = [shortcut.key().toString() for shortcut in found if shortcut.parent().isVisible()]
    buttons = [button for button in window.findChildren(QAbstractButton) if button.isVisible()]
    return Counter(claims + [button.shortcut().toString() for button in buttons if not button.shortcut().isEmpty()])


async def chat_of(window: Window) -> Any:
    page: Any = window.go("chat")
    await until(lambda: page.is_open, 10)
    return page


async def ask(page: Any, words: str) -> Any:
    before = len(page.messages)
    page.composer.box.setPlainText(words)
    page.composer.submit()
    await until(lambda: len(page.messages) == before + 2 and not page.composer.is_busy, 20)
    await settle(5)
    return page.messages[-1]


async def test_the_number_keys_lead_to_every_page_and_no_key_is_claimed_twice() -> None:
    async with live() as (window, _):
        window.activateWindow()
        await chat_of(window)
        for start in PAGES:
            for place in PAGES:
                window.go(start)
                window.rail.items[0].setFocus()
                press(window, "window", f"page_{place}")
                assert window._place == place
                focus, page = QApplication.focusWidget(), window._pages[place]
                assert focus is page or page.isAncestorOf(focus)
        for place in PAGES:
            window.go(place)
            keys = live_keys(window)
            assert not {key for key, count in keys.items() if count > 1}
            assert {row.keys for row in shortcuts.TABLE if row.place in ("window", place)} <= set(keys)


async def test_keys_of_a_page_work_wherever_the_focus_is() -> None:
    async with live() as (window, _):
        window.activateWindow()
        page = await chat_of(window)
        for elsewhere in (window.rail.items[0], window.status._model_part, page.sidebar.list):
            elsewhere.setFocus()
            assert QApplication.focusWidget() is elsewhere
            press(window, "chat", "write")
            assert page.composer.box.hasFocus()
        window.rail.items[0].setFocus()
        press(window, "window", "help")
        help_page: Any = window._pages["help"]
        assert window._place == "help" and help_page.search.hasFocus()
        QTest.mouseClick(window.rail.items[0], Qt.MouseButton.LeftButton)
        assert window._place == "chat" and page.composer.box.hasFocus()


async def test_messages_that_are_made_anew_keep_the_focus_in_the_page() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        window.activateWindow()
        page = await chat_of(window)
        reply = await ask(page, "words")
        assert reply.state == "cut"
        row = page.transcript.row(reply.id)
        row._state._button.setFocus()
        QTest.keyClick(row._state._button, Qt.Key.Key_Space)  # Continue, which goes with the press
        await until(lambda: page.composer.is_busy or len(page.messages[-1].text) > len(reply.text), 10)
        await until(lambda: not page.composer.is_busy, 20)
        await settle(5)
        assert page.composer.box.hasFocus()
        row = page.transcript.row(reply.id)
        row._actions.buttons["regenerate"].setFocus()
        QTest.keyClick(row._actions.buttons["regenerate"], Qt.Key.Key_Space)
        await until(lambda: page.messages[-1].id != reply.id and not page.composer.is_busy, 20)
        assert page.composer.box.hasFocus()
        await settle(5)
        row = page.transcript.row(page.messages[-1].id)
        row._siblings._back.setFocus()
        QTest.keyClick(row._siblings._back, Qt.Key.Key_Space)  # the other version takes its place
        await until(lambda: page.messages[-1].id == reply.id, 10)
        await settle(5)
        focus = QApplication.focusWidget()
        assert focus is not None and page.transcript.isAncestorOf(focus)


async def test_sending_with_the_button_leaves_the_focus_in_the_box() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        window.activateWindow()
        page = await chat_of(window)
        page.composer.box.setPlainText("words")
        QTest.mouseClick(page.composer.send, Qt.MouseButton.LeftButton)
        await until(lambda: len(page.messages) == 2 and not page.composer.is_busy, 20)
        await settle(5)
        assert page.composer.box.hasFocus()
