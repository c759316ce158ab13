"""The tokenizer page: live while one types, whole for long texts, and nothing of the text is lost or changed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from app.ui.tokenizer.flow import Flow, cells, is_part, shown
from app.ui.tokenizer.token_view import TokenView, token_words
from app.ui.window import Window
from core import paths
from core.protocol.messages import Token
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until
from tests.helpers.window import application, turn
from tests.helpers.window import shown as in_window

on_qasync = pytest.mark.loops("qasync")


def tokens_of(*words: str) -> tuple[Token, ...]:
    return tuple(Token(place, word, False, word.encode()) for place, word in enumerate(words))


def test_what_stands_in_a_box_can_be_told_apart() -> None:
    half = Token(1, "\ufffd", False, "你".encode()[:2])
    assert shown(half) == "E4 BD" and is_part(half)
    whole = Token(2, "\ufffd", False, "\ufffd".encode())  # the sign itself, whole
    assert shown(whole) == "\ufffd" and not is_part(whole)
    assert [shown(token) for token in tokens_of(" are", "\n", "  ", "\t", "\x00", " \n")] == [
        " are", "↵", "··", "→", "␀", "·↵"
    ]  # fmt: skip
    assert [cells(words) for words in ("abc", "你好", "é", "e\u0301", "")] == [3, 4, 1, 1, 1]


def test_laid_out_in_slices_or_at_once_every_token_has_one_place() -> None:
    chance = random.Random(3)
    words = chance.choices([" a", "word", "你好", "\n", "x" * 60, " \n\n", "!"], k=5000)
    tokens = tokens_of(*words)
    whole, sliced = Flow(tokens, 50), Flow(tokens, 50)
    whole.lay(10)
    slices = 0
    while not sliced.is_whole:
        sliced.lay(0)
        slices += 1
    assert slices > 5 and sliced.starts == whole.starts
    placed = [index for line in range(whole.lines) for index, _, _ in whole.places(line)]
    assert placed == list(range(len(tokens)))
    for line in range(whole.lines):
        places = whole.places(line)
        assert sum(wide for _, _, wide in places) <= 50
        for index, first, wide in places:
            assert whole.line_of(index) == line and whole.at(line, first + wide / 2) == index
    other = whole.reflow(80)
    other.lay(10)
    assert other.lines < whole.lines and other.is_whole


def test_arrow_keys_reach_every_token_and_say_it() -> None:
    application()
    view = TokenView()
    with in_window(view, 400, 200):
        view.show_tokens(tokens_of(*(["one", " two", " three", " four"] * 40)))
        seen: list[int] = []
        view.chosen.connect(seen.append)
        view.setFocus()
        for key in ("Key_Right", "Key_Right", "Key_Down", "Key_Up", "Key_End", "Key_Home", "Key_Left"):
            QTest.keyClick(view, getattr(Qt.Key, key))
        turn()
        assert seen[:2] == [0, 1] and seen[3] == 1 and seen[4] == 159 and seen[5:] == [0, 0]
        assert seen[2] > 4 and view.bar.maximum() > 0
        assert view.accessibleDescription() == token_words(view.tokens[0])
        QTest.keyClick(view, Qt.Key.Key_End)
        assert view.bar.value() > 0  # it is scrolled into view
        before = view.grab().toImage()
        view.bar.setValue(0)
        turn()
        assert view.grab().toImage() != before


async def page_of(window: Window) -> Any:
    page: Any = window.go("tokenizer")
    await until(lambda: page.found is not None, 10)
    return page


async def typed(page: Any, words: str) -> None:
    page.text.setPlainText(words)
    await until(lambda: page.asked_for == len(words), 10)
    await settle(2)


@on_qasync
async def test_text_becomes_tokens_while_it_is_typed() -> None:
    shelf_models.put(paths.models(), "first")
    shelf_models.put_adapter(paths.models(), "cooking", "first")
    async with live() as (window, context):
        page = await page_of(window)
        assert page.found.tokens  # of the sample: the page is never empty
        await typed(page, "Hello <|im_end|>🙂 7")
        assert page.facts.values["control"].text() == "0"
        assert page.facts.values["parts"].text() == "2"
        assert page.facts.values["entries"].text() == "1,851" and page.facts.values["rows"].text() == "1,936"
        assert page.facts.values["bytes"].text() == str(len("Hello <|im_end|>🙂 7".encode()))
        QTest.keyClick(page, Qt.Key.Key_U, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
        if not page.unsafe.isChecked():
            page.unsafe.click()
        await until(lambda: page.facts.values["control"].text() == "1")
        place = next(i for i, token in enumerate(page.view.tokens) if token.is_control)
        page.view.choose(place)
        assert page.facts.values["kind"].text() == say("tokenizer.kind_control")
        assert page.facts.values["number"].text() == "900" and not page.facts.explain.isHidden()
        part = next(i for i, token in enumerate(page.view.tokens) if is_part(token))
        page.view.choose(part)
        assert page.facts.values["data"].text() == "F0 9F"
        page.copy.click()
        ids = json.loads(QGuiApplication.clipboard().text())
        assert ids == [token.id for token in page.found.tokens]
        await settle(5)
        assert faults(window) == []
        # what the user typed outlives a change of language, and no weights were loaded
        window.preferences.change(language="zh")
        page = await page_of(window)
        assert page.text.toPlainText() == "Hello <|im_end|>🙂 7"
        assert context.inference.state.phase == "none"


@on_qasync
async def test_a_long_text_comes_whole_and_an_older_answer_is_never_shown() -> None:
    shelf_models.put(paths.models(), "first")
    async with live() as (window, _):
        page = await page_of(window)
        long = "wörd 你好 " * 9_000
        assert len(long.encode()) > 100_000
        page.text.setPlainText("an older text")
        page._ask()
        await typed(page, long)
        await until(lambda: page.view.is_whole)
        assert len(page.found.tokens) == len(long.split()) + 1
        assert "".join(token.text for token in page.found.tokens) == long
        await typed(page, "short")
        assert [token.text for token in page.view.tokens] == ["short"]


@on_qasync
async def test_where_there_is_no_answer_nothing_of_an_older_one_is_left() -> None:
    shelf_models.put(paths.models(), "first")
    shelf_models.put(paths.models(), "second")
    async with live() as (window, _):
        page = await page_of(window)
        await typed(page, "Hello you")
        assert page.copy.isEnabled() and page.facts.values["count"].text() == "2"
        (paths.models() / "second" / "config.json").unlink()
        page.select.chosen.emit("second")
        await until(lambda: page.found is None)
        values = {value.text() for value in page.facts.values.values()}
        assert values == {"–"} and not page.copy.isEnabled() and page.view.tokens == ()
        page.select.chosen.emit("first")
        await until(lambda: page.copy.isEnabled())
        assert page.facts.values["count"].text() == "2"


@on_qasync
async def test_without_a_model_the_page_says_where_to_get_one() -> None:
    async with live() as (window, _):
        page: Any = window.go("tokenizer")
        await until(lambda: page.empty.isVisible())
        assert not page.copy.isEnabled() and faults(window) == []
