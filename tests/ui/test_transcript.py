"""The transcript: few widgets for many messages, a place that stays, following a reply, actions, keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QGuiApplication, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QPlainTextEdit

from app.ui import theme
from app.ui.transcript.rows import ReplyRow, Row, UserRow
from app.ui.transcript.view import TranscriptView
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Skeleton
from app.ui.widgets.message import QuietIcon
from core.translation import say
from tests.helpers.audit import faults
from tests.helpers.replies import CODE, FIGURES, NASTY, dialogue, message
from tests.helpers.window import application, shown, turn, until


@pytest.fixture
def view() -> Iterator[TranscriptView]:
    application()
    with shown(TranscriptView()) as made:
        yield made


def settled(view: TranscriptView) -> None:
    until(lambda: view.is_settled, "the transcript is drawn")


def on_screen(view: TranscriptView, number: int) -> int:
    row = view.row(number)
    assert row is not None
    return row.mapTo(view, QPoint(0, 0)).y()


def wheel(view: TranscriptView, notches: int) -> None:
    at = QPointF(view.rect().center())
    none = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    event = QWheelEvent(at, view.mapToGlobal(at), QPoint(), QPoint(0, 120 * notches), *none, False)
    QApplication.sendEvent(view, event)


def reply(view: TranscriptView, number: int) -> ReplyRow:
    row = view.row(number)
    assert isinstance(row, ReplyRow)
    return row


def test_ten_thousand_messages_are_a_handful_of_widgets_and_open_at_the_end(view: TranscriptView) -> None:
    view.show_branch(dialogue(10_000))
    settled(view)
    assert len(view.findChildren(Row)) < 40
    last = reply(view, 10_000)
    assert on_screen(view, 10_000) + last.height() <= view.height()
    view.jump_to(5_000)
    settled(view)
    assert 0 <= on_screen(view, 5_000) < view.height() / 2
    assert view.row(10_000) is None
    assert QApplication.focusWidget() is view.row(5_000)


def test_what_is_read_stays_in_its_place_while_rows_above_get_their_true_height(view: TranscriptView) -> None:
    view.show_branch(dialogue(400))
    view.jump_to(201)
    settled(view)
    for _ in range(60):
        number, above = view.first_in_view()
        place = on_screen(view, number)
        settled(view)
        assert on_screen(view, number) == place
        wheel(view, 1)
        if number == view.first_in_view()[0]:
            assert on_screen(view, number) - place == 90
    assert view.first_in_view()[0] < 195, above


def test_scrolling_to_both_ends_shows_the_first_and_the_last_message(view: TranscriptView) -> None:
    view.show_branch(dialogue(300))
    settled(view)
    view.scroll_to(0)
    settled(view)
    assert on_screen(view, 1) >= 0
    view.go_to_end()
    settled(view)
    assert on_screen(view, 300) + reply(view, 300).height() <= view.height()


def stream(view: TranscriptView, number: int, words: str, times: int) -> None:
    for _ in range(times):
        view.grow(number, words)
        turn(1)
    settled(view)


def test_a_growing_reply_is_followed_at_the_end(view: TranscriptView) -> None:
    view.show_branch(dialogue(20))
    view.begin_reply(message(21, state="streaming"))
    stream(view, 21, "Another paragraph of the reply.\n\n", 60)
    row = reply(view, 21)
    assert row.height() > view.height()
    assert on_screen(view, 21) + row.height() <= view.height()


def test_a_growing_reply_leaves_the_reader_alone_who_scrolled_up(view: TranscriptView) -> None:
    view.show_branch(dialogue(40))
    view.begin_reply(message(41, state="streaming"))
    stream(view, 41, "Some words.\n\n", 10)
    wheel(view, 4)
    settled(view)
    number, _ = view.first_in_view()
    place = on_screen(view, number)
    stream(view, 41, "Some more words.\n\n", 40)
    assert on_screen(view, number) == place
    assert view._latest.isVisible()
    QTest.mouseClick(view._latest, Qt.MouseButton.LeftButton)
    settled(view)
    assert view.is_at_end
    assert not view._latest.isVisible()


def test_deltas_are_drawn_together_and_nothing_ticks_when_idle(view: TranscriptView) -> None:
    view.show_branch([message(1, "user", "hi")])
    view.begin_reply(message(2, state="streaming"))
    settled(view)
    for _ in range(500):
        view.grow(2, "word ")
    active = [timer for timer in view.findChildren(QTimer) if timer.isActive() and timer.interval() <= 40]
    assert len(active) <= 1
    assert not reply(view, 2).body.parts()
    settled(view)
    assert reply(view, 2).copied() == "word " * 500
    view.end_reply(message(2, text="word " * 500, figures=FIGURES))
    until(lambda: not [t for t in view.findChildren(QTimer) if t.isActive()], "all timers rest")


def test_the_end_of_a_reply_shows_its_figures_and_keeps_its_widgets(view: TranscriptView) -> None:
    view.show_branch([message(1, "user", "hi")])
    view.begin_reply(message(2, state="streaming"))
    text = NASTY["nested lists"] + "\n" + CODE
    view.grow(2, text)
    settled(view)
    code = reply(view, 2).body.parts()[-1]
    view.end_reply(message(2, text=text, figures=FIGURES, sibling=2, siblings=3))
    settled(view)
    assert reply(view, 2).body.parts()[-1] is code
    words = [label.text() for label in reply(view, 2).findChildren(QLabel) if label.isVisible()]
    assert "234 tokens · 61.3 tok/s · first token 0.21 s" in words
    assert "2 / 3" in words


def test_coming_back_to_a_conversation_that_is_being_answered_goes_on_showing_it(view: TranscriptView) -> None:
    half = message(61, text="First half, ", thinking="Hm.", state="streaming")
    view.show_branch([*dialogue(60), half])
    view.grow(61, "second half.")
    view.update_message(replace(half, text="First"))
    settled(view)
    assert reply(view, 61).copied() == "First half, second half."
    view.show_branch(dialogue(4))
    settled(view)
    view.show_branch([*dialogue(60), half])
    view.scroll_to(0)
    view.grow(61, "second half.")
    settled(view)
    view.end_reply(message(61, text="First half, second half.", thinking="Hm."))
    view.go_to_end()
    settled(view)
    assert reply(view, 61).body.parts()[0].toPlainText() == "First half, second half."  # type: ignore[union-attr]


def test_waiting_shows_its_reason_at_once_and_grey_lines_a_little_later(view: TranscriptView) -> None:
    view.show_branch([message(1, "user", "hi")])
    view.begin_reply(message(2, state="streaming"))
    skeleton = reply(view, 2).findChild(Skeleton)
    turn()
    assert not skeleton.isVisible()
    view.wait_with(2, "Loading model… 45 %")
    assert any(label.text() == "Loading model… 45 %" and label.isVisible() for label in view.findChildren(QLabel))
    until(skeleton.isVisible, "the grey lines are there")
    view.grow(2, "Hello")
    settled(view)
    assert not skeleton.isVisible()


@pytest.mark.parametrize(
    ("state", "code", "sentence"),
    [
        ("stopped", "", "transcript.stopped"),
        ("cut", "", "transcript.cut"),
        ("interrupted", "", "transcript.interrupted"),
        ("failed", "long_gone", "transcript.failed"),
    ],
)
def test_a_reply_that_is_not_whole_says_why_and_can_go_on(
    view: TranscriptView, state: str, code: str, sentence: str
) -> None:
    asked: list[tuple[str, int]] = []
    view.asked.connect(lambda action, number: asked.append((action, number)))
    view.show_branch([message(1, "user", "hi"), message(2, text="Half", state=state, error_code=code)])
    settled(view)
    assert any(label.text() == say(sentence) and label.isVisible() for label in view.findChildren(QLabel))
    button = next(b for b in reply(view, 2).findChildren(Button) if b.isVisible())
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked == [("continue", 2)]
    view.begin_reply(message(2, text="Half", state="streaming"))
    view.grow(2, " and whole.")
    view.end_reply(message(2, text="Half and whole."))
    settled(view)
    assert not button.isVisible()
    assert reply(view, 2).body.parts()[0].toPlainText() == "Half and whole."  # type: ignore[union-attr]


def test_a_reply_that_failed_without_a_word_is_tried_again(view: TranscriptView) -> None:
    asked: list[str] = []
    view.asked.connect(lambda action, number: asked.append(action))
    view.show_branch([message(1, "user", "hi"), message(2, state="failed", error_code="x")])
    settled(view)
    button = next(b for b in reply(view, 2).findChildren(Button) if b.isVisible())
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked == ["regenerate"]


def test_actions_and_versions_ask_with_the_message_they_are_for(view: TranscriptView) -> None:
    asked: list[tuple[str, int]] = []
    view.asked.connect(lambda action, number: asked.append((action, number)))
    view.show_branch([message(1, "user", "hi", sibling=2, siblings=3), message(2, text="**Hello**", figures=FIGURES)])
    settled(view)
    for name in ("copy", "regenerate", "branch"):
        QTest.mouseClick(reply(view, 2)._actions.buttons[name], Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "**Hello**"
    first = view.row(1)
    assert first is not None
    for button in (first._siblings._back, first._siblings._forth):
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked == [("copy", 2), ("regenerate", 2), ("branch", 2), ("previous", 1), ("next", 1)]


def test_a_message_is_edited_in_its_place(view: TranscriptView) -> None:
    edited: list[tuple[int, str]] = []
    view.edited.connect(lambda number, words: edited.append((number, words)))
    view.show_branch(dialogue(6))
    settled(view)
    view.edit(5)
    settled(view)
    box = view.row(5).findChild(QPlainTextEdit)  # type: ignore[union-attr]
    assert box.hasFocus()
    assert box.toPlainText() == "Question 5?"
    QTest.keyClick(box, Qt.Key.Key_Escape)
    turn()
    assert edited == []
    view.edit(5)
    box = view.row(5).findChildren(QPlainTextEdit)[-1]  # type: ignore[union-attr]
    QTest.keyClicks(box, " And why?")
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert edited == [(5, "Question 5? And why?")]
    row = view.row(5)
    assert isinstance(row, UserRow)
    assert not row.is_editing


def test_another_branch_keeps_the_rows_both_have(view: TranscriptView) -> None:
    branch = dialogue(6)
    view.show_branch(branch)
    settled(view)
    kept = view.row(3)
    view.show_branch([*branch[:4], message(5, "user", "Another question", sibling=2, siblings=2)])
    settled(view)
    assert view.row(3) is kept
    assert view.message_ids() == [1, 2, 3, 4, 5]
    view.update_message(replace(branch[2], sibling=1, siblings=2))
    settled(view)
    assert any(label.text() == "1 / 2" and label.isVisible() for label in kept.findChildren(QLabel))  # type: ignore[union-attr]


def test_arrows_walk_through_all_messages_and_tab_reaches_the_actions(view: TranscriptView) -> None:
    view.show_branch(dialogue(60))
    settled(view)
    view.activateWindow()
    reply(view, 60).setFocus(Qt.FocusReason.TabFocusReason)
    for expected in range(59, 20, -1):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Up)
        settled(view)
        row = view.row(expected)
        assert QApplication.focusWidget() is row
        assert row is not None
        assert row.accessibleName()
        assert on_screen(view, expected) < view.height()
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Home)
    settled(view)
    assert QApplication.focusWidget() is view.row(1)
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    button = QApplication.focusWidget()
    assert isinstance(button, QuietIcon)
    assert button.revealed


def test_a_reply_that_fills_the_context_says_what_helps(view: TranscriptView) -> None:
    asked: list[tuple[str, int]] = []
    view.asked.connect(lambda action, number: asked.append((action, number)))
    view.show_branch([message(1, "user", "hi"), message(2, text="Half", state="full")])
    settled(view)
    row = reply(view, 2)
    assert any(label.text() == say("transcript.full") and label.isVisible() for label in view.findChildren(QLabel))
    buttons = [b for b in row.findChildren(Button) if b.isVisible()]
    assert [b.text() for b in buttons] == [say("load.open")] and row.extra_actions() == ()
    QTest.mouseClick(buttons[0], Qt.MouseButton.LeftButton)
    assert asked == [("load", 2)]


def test_theme_and_text_size_change_while_shown(view: TranscriptView) -> None:
    view.show_branch([message(1, "user", "hi"), message(2, text=CODE + NASTY["growing table"], figures=FIGURES)])
    settled(view)
    before = reply(view, 2).height()
    light = view.grab().toImage()
    theme.apply(application_now(), "dark", 1.3)
    settled(view)
    assert reply(view, 2).height() > before
    assert view.grab().toImage().pixelColor(5, 5) != light.pixelColor(5, 5)


def application_now() -> QApplication:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    return app


def test_nothing_visible_lacks_a_name_or_is_clipped(view: TranscriptView) -> None:
    states = ("stopped", "cut", "full", "interrupted", "failed")
    rows = [message(n, text="Half", state=state, figures=FIGURES) for n, state in enumerate(states, 2)]
    view.show_branch([message(1, "user", "hi", siblings=2), *rows])
    settled(view)
    for width in (520, 900):
        view.resize(width, 700)
        settled(view)
        assert faults(view) == []


def test_a_narrower_window_keeps_the_message_that_was_at_the_top(view: TranscriptView) -> None:
    view.show_branch(dialogue(200))
    view.jump_to(100)
    settled(view)
    number, _ = view.first_in_view()
    view.resize(500, 700)
    settled(view)
    assert abs(view.first_in_view()[0] - number) <= 1
