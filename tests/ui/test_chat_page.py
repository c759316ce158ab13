"""The chat page with several conversations: what answers in one never hinders another, and nothing typed is lost."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.ui.window import Window
from core import paths
from core.chat.turns import Sampling
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.live_window import live
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")

SLOWLY = Sampling(seed=20, max_new_tokens=10_000)  # of the fake worker: words a second, and how many


async def page_of(window: Window) -> Any:
    page: Any = window.go("chat")
    await until(lambda: page.is_open, 10)
    return page


def send(page: Any, words: str) -> None:
    """As from the keyboard."""
    page.composer.box.setPlainText(words)
    QTest.keyClick(page.composer.box, Qt.Key.Key_Return)


async def test_a_new_chat_can_ask_while_another_one_is_answered() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, context):
        page = await page_of(window)
        page._sampling = SLOWLY
        send(page, "words")
        await until(lambda: page.composer.is_busy, 10)
        slow = page.conversation.id
        page.new_chat()
        assert not page.composer.is_busy and page.composer.send.accessibleName() == say("kit.send")
        page._sampling = Sampling(max_new_tokens=3)
        send(page, "words")
        await until(lambda: len(page.messages) == 2 and page.messages[-1].state == "cut", 20)
        assert page.messages[-1].text.strip() == "w0 w1 w2" and page.conversation.id != slow
        assert context.chat.streaming() == {slow}
        await page.open(slow)
        assert page.composer.is_busy and page.messages[-1].state == "streaming"
        page.actions_.stop()
        await until(lambda: not page.composer.is_busy, 10)


async def test_what_was_typed_is_there_again() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        page = await page_of(window)
        send(page, "words")
        await until(lambda: len(page.messages) == 2 and not page.composer.is_busy, 20)
        conversation = page.conversation.id
        page.composer.box.setPlainText("more of it")
        await page.open(conversation)  # the same one
        assert page.composer.draft == "more of it"
        page.new_chat()
        assert page.composer.draft == ""
        page.composer.box.setPlainText("something new")
        page.new_chat()
        assert page.composer.draft == "something new"
        await page.open(conversation)
        assert page.composer.draft == "more of it"
        window.preferences.change(language="zh")  # builds the page anew
        page = await page_of(window)
        assert page.composer.draft == "more of it"
        page.new_chat()
        assert page.composer.draft == "something new"
        send(page, "words")
        await until(lambda: len(page.messages) == 2 and not page.composer.is_busy, 20)
        page.new_chat()
        assert page.composer.draft == ""
        await page.open(conversation)
        await page.actions_._delete(conversation)
        assert page.composer.draft == "" and page.conversation is None
        await page.actions_._restore(conversation)
        assert page.composer.draft == "more of it"


async def test_a_message_that_could_not_be_sent_stays_in_the_box() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        page = await page_of(window)
        send(page, "words")
        await until(lambda: len(page.messages) == 2 and not page.composer.is_busy, 20)
        page.chat._beginning.add(page.conversation.id)  # another click is on its way to the store
        send(page, "and now?")
        await until(lambda: page.composer.draft == "and now?", 5)
        page.chat._beginning.clear()
