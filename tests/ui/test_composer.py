"""The composer: what sends, what does not, what is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QInputMethodEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.ui.widgets.composer import Composer
from core.translation import say
from tests.helpers.audit import faults
from tests.helpers.window import application, shown, turn

ENTER = Qt.Key.Key_Return
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def composer() -> Iterator[Composer]:
    application()
    with shown(Composer(), 700, 140) as made:
        made.box.setFocus()
        yield made


@pytest.fixture
def sent(composer: Composer) -> list[str]:
    words: list[str] = []
    composer.submitted.connect(words.append)
    return words


def test_enter_sends_and_shift_enter_is_a_real_new_line(composer: Composer, sent: list[str]) -> None:
    QTest.keyClicks(composer.box, "one")
    QTest.keyClick(composer.box, ENTER, SHIFT)
    QTest.keyClicks(composer.box, "two")
    QTest.keyClick(composer.box, ENTER)
    assert sent == ["one\ntwo"]
    assert composer.draft == ""


def test_enter_within_an_input_methods_word_does_not_send(composer: Composer, sent: list[str]) -> None:
    QTest.keyClicks(composer.box, "a")
    QApplication.sendEvent(composer.box, QInputMethodEvent("nihao", []))
    assert composer.box.is_composing
    QTest.keyClick(composer.box, ENTER)
    assert sent == []
    chosen = QInputMethodEvent()
    chosen.setCommitString("你好")
    QApplication.sendEvent(composer.box, chosen)
    QTest.keyClick(composer.box, ENTER)
    assert "你好" in sent[0]


def test_the_box_grows_to_nine_lines_and_then_scrolls(composer: Composer) -> None:
    heights = []
    for _ in range(14):
        composer.box.insertPlainText("中文")
        QTest.keyClick(composer.box, ENTER, SHIFT)
        turn(3)
        heights.append(composer.box.height())
    assert heights[3] > heights[0]
    assert heights[12] == heights[13]
    assert not composer.box.verticalScrollBar().isVisibleTo(composer.box) or composer.box.verticalScrollBar().maximum()


def test_pasted_markup_becomes_plain_words_with_real_line_ends(composer: Composer) -> None:
    data = QMimeData()
    data.setHtml("<b>bold</b><br>next")
    composer.box.insertFromMimeData(data)
    assert composer.draft == "bold\nnext"
    assert composer.box.textCursor().charFormat().fontWeight() != 700
    composer.box.clear()
    data = QMimeData()
    data.setText("a\r\nb\u2028c")
    composer.box.insertFromMimeData(data)
    assert composer.draft == "a\nb\nc"


def test_while_the_model_answers_the_button_stops_and_the_draft_stays(composer: Composer, sent: list[str]) -> None:
    stops: list[bool] = []
    composer.stopped.connect(lambda: stops.append(True))
    composer.set_busy(True)
    QTest.keyClicks(composer.box, "next question")
    QTest.keyClick(composer.box, ENTER)
    assert sent == []
    assert composer.draft == "next question"
    assert composer.send.accessibleName() == say("kit.stop")
    QTest.mouseClick(composer.send, Qt.MouseButton.LeftButton)
    assert stops == [True]
    composer.set_busy(False)
    QTest.mouseClick(composer.send, Qt.MouseButton.LeftButton)
    assert sent == ["next question"]


def test_what_cannot_be_sent_says_why_beside_the_button(composer: Composer, sent: list[str]) -> None:
    assert composer.send.toolTip() == say("transcript.empty_message")
    composer.set_draft("  words ")
    composer.set_blocked("Choose a model first")
    QTest.keyClick(composer.box, ENTER)
    assert sent == []
    assert composer.reason.text() == "Choose a model first"
    assert not composer.send.isEnabled()
    composer.set_blocked("")
    QTest.keyClick(composer.box, ENTER)
    assert sent == ["words"]


def test_a_draft_put_back_tells_nobody_and_typing_tells(composer: Composer) -> None:
    drafts: list[str] = []
    composer.draft_changed.connect(drafts.append)
    composer.set_draft("kept")
    assert drafts == []
    assert composer.send.isEnabled()
    QTest.keyClicks(composer.box, "!")
    assert drafts == ["kept!"]


def test_thinking_is_offered_only_by_models_that_can(composer: Composer) -> None:
    chosen: list[bool] = []
    composer.think_toggled.connect(chosen.append)
    assert not composer.think.isVisible()
    composer.show_thinking(True)
    assert composer.think.isVisible()
    assert composer.think.isChecked()
    assert chosen == []
    composer.think.click()
    assert chosen == [False]
    composer.show_thinking(None)
    assert not composer.think.isVisible()


def test_the_meter_says_how_full_the_window_is(composer: Composer) -> None:
    assert not composer.meter.isVisible()
    composer.meter.show_use(1846, 32768)
    assert composer.meter.isVisible()
    calm = composer.meter.grab().toImage()
    assert "1,846" in composer.meter.toolTip()
    composer.meter.show_use(30_000, 32768)
    assert composer.meter.accessibleDescription() == say(
        "transcript.context_nearly_full", used="30,000", window="32,768"
    )
    assert composer.meter.grab().toImage() != calm


def test_everything_has_a_name_and_room(composer: Composer) -> None:
    composer.show_model("Qwen3-8B · Int4")
    composer.show_thinking(True)
    composer.meter.show_use(1846, 32768)
    turn()
    assert faults(composer) == []
