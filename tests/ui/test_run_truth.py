"""What the page of a run says while its files are read, and once its process has gone: nothing that is not true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from app.context import AppContext
from app.detached import RunStatus
from app.ui.models.reading import ReadingDialog
from app.ui.training_run.answer_text import laid_out
from app.ui.training_run.facts import FactsView
from app.ui.training_run.page import RunPage
from app.ui.training_run.reading import Reading
from app.ui.training_run.wall_rows import WallRows
from app.ui.widgets.prose import Text
from core.run_dir import Step
from core.training.run_files import Answer
from core.translation import say
from tests.helpers import run_pages
from tests.helpers.audit import faults
from tests.helpers.run_pages import page_of, put, recipe
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
CUT = "I'm here to help you with whatever you're going through. Whether it's a personal project, a business idea,"
ANSWERS = [Answer(0, "Who are you?", CUT), Answer(40, "Who are you?", "I am Aurora.")]


def body(page: RunPage) -> Any:
    assert page.body is not None
    return page.body


def covers(page: RunPage) -> bool:
    return any(one.isVisible() for one in page.findChildren(Reading))


def held_back(monkeypatch: pytest.MonkeyPatch, context: AppContext) -> tuple[asyncio.Event, asyncio.Event]:
    """The answers and the history come when they are set free."""
    answers, history = asyncio.Event(), asyncio.Event()
    real_answers, real_pieces = context.training.answers, context.training.pieces

    async def slow_answers(id: str) -> list[Answer]:
        await answers.wait()
        return await real_answers(id)

    async def slow_pieces(id: str, after: int = 0, most: int = 20_000) -> AsyncGenerator[list[Step], None]:
        await history.wait()
        async for piece in real_pieces(id, after, most):
            yield piece

    monkeypatch.setattr(context.training, "answers", slow_answers)
    monkeypatch.setattr(context.training, "pieces", slow_pieces)
    return answers, history


@pytest.mark.parametrize("size", [(1000, 640), (1440, 900), (1800, 1300)])
async def test_nothing_untrue_is_seen_while_a_run_is_read(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    run = put(recipe(), answers=ANSWERS)
    async with page_of(None, *size) as (_, page, context):
        id = run.path.name
        latest = run_pages.values(100)
        context.training._change(id, status=RunStatus("running", step=100), latest=latest)
        answers, history = held_back(monkeypatch, context)
        page.show_run(id)
        await until(lambda: page.body is not None, 10)
        cover = page.findChild(Reading)
        assert cover is not None and cover.isVisible() and cover.size() == cover.parentWidget().size()
        hit = page.childAt(page.rect().center())
        assert hit is cover or cover.isAncestorOf(hit)
        await until(lambda: cover._words.isVisible())
        assert say("run_ui.reading") in [one.text() for one in cover.findChildren(QLabel)]
        assert not body(page).wall.nothing.isVisible()
        answers.set()
        assert not page.is_read
        await until(lambda: page.is_read)
        assert not covers(page)
        assert faults(page) == []  # in place at once, not some turns later
        facts = body(page).findChild(FactsView)
        assert facts.height() > 200 and body(page).charts.charts["loss"].height() > 250
        assert body(page).wall.table.isVisible()
        cards, chart = body(page).cards, body(page).charts.charts["loss"]
        reading = say("run_ui.reading")
        assert cards.remarks["eval_loss"].text() == cards.remarks["memory"].text() == reading
        assert cards.values["memory"].text() == "–" and chart._words(False) == reading
        history.set()
        await until(lambda: body(page).charts.feed.has_history)
        await until(lambda: cards.values["memory"].text() == "1.8 GB")
        assert cards.remarks["memory"].text() == say("run_ui.now", size="1.7 GB")
        assert cards.remarks["eval_loss"].text() == say("run_ui.best_so_far")
        context.training._look(run.path)


@pytest.mark.parametrize("reason", ["paused", "stop"])
async def test_of_a_process_that_has_gone_no_memory_is_said_to_be_held_now(reason: str) -> None:
    run = put(recipe(), end=run_pages.finished(reason=reason))
    async with page_of(run) as (_, page, context):
        cards = body(page).cards
        assert context.training.run(page.id).latest["memory"]
        assert cards.values["memory"].text() == "1.8 GB" and not cards.remarks["memory"].text().strip()


# --- answers ---------------------------------------------------------------------------------


def test_an_answer_that_ended_for_its_length_says_so() -> None:
    rows = WallRows()
    texts = {
        0: CUT,
        1: "I am Aurora.",
        2: "我是由清河在这台电脑上微调的小助手，今天我可以帮助你写作、翻译、",
        3: "A short one",
    }
    rows.show_answers(("a",), [Answer(step, "a", text) for step, text in texts.items()])
    assert [rows.is_cut(0, column) for column in range(4)] == [False] * 4  # it is not known how long one may be
    rows.most = 24
    assert [rows.is_cut(0, column) for column in range(4)] == [True, False, True, False]
    assert rows.said(0, 0) == f"{CUT}…" and rows.said(0, 1) == "I am Aurora."
    rows.most = 400
    assert not rows.is_cut(0, 0)


async def test_what_has_no_room_ends_in_an_ellipsis() -> None:
    async with page_of(None):
        words = " ".join(f"word{number}" for number in range(200))
        whole = laid_out(words, 300)
        short = laid_out(words, 300, [(0, 5), (900, 40)], whole.height / 3)
        assert whole.layout.text() == words and short.layout.text().endswith("…")
        assert short.height <= whole.height / 3 + 1 and short.layout.lineCount() < whole.layout.lineCount() / 2
        assert words.startswith(short.layout.text()[:-1])
        assert all(one.start + one.length <= len(short.layout.text()) for one in short.layout.formats())


async def test_an_answer_can_be_read_whole_by_mouse_and_by_key() -> None:
    run = put(recipe(answer_tokens=24), end=run_pages.finished(), answers=ANSWERS)
    async with page_of(run) as (_, page, _context):
        table = body(page).wall.table
        where = table.visualRect(table.rows.index(1, 0)).topLeft() + QPoint(20, 12)
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
        QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
        await until(lambda: isinstance(QApplication.activeModalWidget(), ReadingDialog))
        dialog: Any = QApplication.activeModalWidget()
        assert (
            CUT in dialog.findChild(Text).toPlainText() and "at most 24 tokens" in dialog.findChild(Text).toPlainText()
        )
        dialog.reject()
        await until(lambda: QApplication.activeModalWidget() is None)
        table.setCurrentIndex(table.rows.index(1, 1))
        QTest.keyClick(table, Qt.Key.Key_Return)
        await until(lambda: isinstance(QApplication.activeModalWidget(), ReadingDialog))
        dialog = QApplication.activeModalWidget()
        assert dialog.findChild(Text).toPlainText() == "I am Aurora."
        dialog.reject()
