"""A reply on screen: the same document streamed or whole, formulas, links, code, thinking."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QObject, Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication, QTextTable
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.ui import theme
from app.ui.tokens import DARK, LIGHT
from app.ui.transcript.formulas import formulas
from app.ui.transcript.reply import ReplyBody, Run
from app.ui.transcript.thinking import Thinking
from app.ui.widgets.button import Button
from app.ui.widgets.code import CodeBlock
from app.ui.widgets.prose import Text
from tests.helpers.replies import CODE, NASTY
from tests.helpers.window import application, shown, until


@pytest.fixture(autouse=True)
def app() -> QApplication:
    return application()


def look(run: Run) -> list[tuple[Any, ...]]:
    """Everything that can be seen of a document: its blocks with their formats and pieces, and its tables."""
    rows: list[tuple[Any, ...]] = []
    block = run.document().begin()
    while block.isValid():
        fmt = block.blockFormat()
        properties = tuple(sorted((key, str(value)) for key, value in fmt.properties().items()))
        pieces = []
        it = block.begin()
        while not it.atEnd():
            char = it.fragment().charFormat()
            pieces.append((it.fragment().text(), char.fontWeight(), char.fontItalic(), char.anchorHref()))
            it += 1
        rows.append((properties, tuple(pieces)))
        block = block.next()
    tables = [f for f in run.document().rootFrame().childFrames() if isinstance(f, QTextTable)]
    return [*rows, *((table.rows(), table.columns()) for table in tables)]


def parts(body: ReplyBody) -> list[Any]:
    return [(part.language, part.source) if isinstance(part, CodeBlock) else look(part) for part in body.parts()]


def filled(text: str) -> ReplyBody:
    body = ReplyBody()
    body.fit(700)
    body.show_text(text)
    until(lambda: not body.is_filling, "the reply is filled")
    return body


@pytest.mark.parametrize("name", NASTY)
def test_a_streamed_reply_is_the_same_document_as_the_whole(name: str) -> None:
    source = NASTY[name]
    streamed = ReplyBody()
    streamed.fit(700)
    for start in range(0, len(source), 5):
        streamed.feed(source[start : start + 5])
        streamed.flush()
    streamed.finish()
    whole = filled(source)
    assert formulas.wait(20)
    for body in (streamed, whole):
        body.redraw()
    assert parts(streamed) == parts(whole)
    assert streamed.fit(700) == whole.fit(700)


def test_a_long_text_fills_in_slices_and_ends_whole() -> None:
    text = (CODE + "\n\nSome words about it.\n\n") * 300
    body = ReplyBody()
    body.fit(700)
    body.show_text(text)
    assert body.is_filling
    until(lambda: not body.is_filling, "all slices are drawn")
    assert sum(isinstance(part, CodeBlock) for part in body.parts()) == 300


def test_a_formula_is_drawn_and_copied_as_its_source() -> None:
    body = filled("The energy $E=mc^2$ of it.")
    (run,) = body.parts()
    assert isinstance(run, Run)
    until(lambda: "\ufffc" in run.toPlainText(), "the formula is a picture")
    run.selectAll()
    assert run.selected() == "The energy $E=mc^2$ of it."
    run.copy()
    assert QGuiApplication.clipboard().text() == "The energy $E=mc^2$ of it."


def test_a_formula_wider_than_the_column_is_made_smaller() -> None:
    body = filled("$$" + "a + " * 60 + "b$$")
    (run,) = body.parts()
    assert isinstance(run, Run)
    until(lambda: "\ufffc" in run.toPlainText(), "the formula is a picture")
    body.fit(700)
    assert run.document().idealWidth() <= 700


def test_a_broken_formula_shows_its_source() -> None:
    body = filled("Here $\\frac{1}{\\foo{$ ends.")
    assert formulas.wait(20)
    body.redraw()
    (run,) = body.parts()
    assert isinstance(run, Run)
    assert run.toPlainText() == "Here $\\frac{1}{\\foo{$ ends."


class Opened(QObject):
    """Stands in for the browser: the system's opener calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    @Slot(QUrl)
    def open(self, url: QUrl) -> None:
        self.urls.append(url.toString())


def test_only_links_to_the_web_and_mail_are_links_and_open_elsewhere() -> None:
    opened = Opened()
    for scheme in ("https", "file"):
        QDesktopServices.setUrlHandler(scheme, opened, "open")
    body = filled(
        "[web](https://a.example) [file](file:///etc/passwd) ![picture](https://b.example/c.png) https://d.example."
    )
    (run,) = body.parts()
    assert isinstance(run, Run)
    links = {piece[3] for row in look(run) if len(row[1]) for piece in row[1] if piece[3]}
    assert links == {"https://a.example", "https://b.example/c.png", "https://d.example"}
    run.anchorClicked.emit(QUrl("https://a.example"))
    run.anchorClicked.emit(QUrl("file:///etc/passwd"))
    assert opened.urls == ["https://a.example"]
    for scheme in ("https", "file"):
        QDesktopServices.unsetUrlHandler(scheme)


def colours(block: CodeBlock) -> set[str]:
    found = set()
    line = block.findChild(Text).document().begin()
    while line.isValid():
        found |= {part.format.foreground().color().name() for part in line.layout().formats()}  # type: ignore[attr-defined]
        line = line.next()
    return found


def test_code_is_coloured_follows_the_theme_and_copies_its_source() -> None:
    body = filled(CODE)
    (block,) = body.parts()
    assert isinstance(block, CodeBlock)
    until(lambda: LIGHT.code_keyword.lower() in colours(block), "the keywords have their colour")
    theme.apply(application(), "dark")
    until(lambda: DARK.code_keyword.lower() in colours(block), "and that of the dark theme")
    assert LIGHT.code_keyword.lower() not in colours(block)
    copy = next(button for button in block.findChildren(Button))
    QTest.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text().startswith("def pieces")


def test_long_lines_of_code_scroll_sideways_from_their_start() -> None:
    body = filled("```\n" + "x" * 500 + "\n```")
    with shown(body, 400, 200):
        (block,) = body.parts()
        assert isinstance(block, CodeBlock)
        body.fit(400)
        bar = block.findChild(Text).horizontalScrollBar()
        assert bar.maximum() > 0
        assert bar.value() == 0


def test_thinking_is_open_while_it_streams_and_folds_when_the_answer_begins() -> None:
    thinking = Thinking()
    with shown(thinking, 600, 300):
        folded = thinking.fit(600)
        thinking.feed("First this, ")
        thinking.feed("then that.")
        thinking.flush()
        text = thinking.findChild(Text)
        assert text.isVisible()
        assert text.toPlainText() == "First this, then that."
        assert thinking.fit(600) > folded
        thinking.end()
        assert not text.isVisible()
        assert thinking.fit(600) == folded
        assert not thinking.is_running


def test_the_users_choice_about_thinking_wins() -> None:
    thinking = Thinking()
    with shown(thinking, 600, 300):
        thinking.fit(600)
        thinking.feed("Words")
        thinking.flush()
        fold = thinking._fold
        fold.click()
        thinking.feed(" and more")
        thinking.flush()
        assert not thinking.findChild(Text).isVisible()
        fold.click()
        thinking.end()
        assert thinking.findChild(Text).isVisible()
        assert thinking.findChild(Text).toPlainText() == "Words and more"
