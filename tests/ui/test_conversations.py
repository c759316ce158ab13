"""The conversation list: groups, times, updates that keep the place, renaming, search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QMenu

from app.ui.widgets import ages
from app.ui.widgets.conversation_rows import Heading
from app.ui.widgets.conversations import ConversationList
from core import translation
from core.store.records import ConversationSummary, Hit
from tests.helpers.window import application, shown, turn

NOW = datetime(2026, 11, 25, 15, 30).astimezone()  # a Wednesday


@pytest.fixture
def shown_list() -> Iterator[ConversationList]:
    application()
    translation.use("en")
    with shown(ConversationList(), 264, 500) as made:
        yield made
    translation.use("en")


def summary(number: int, ago: timedelta = timedelta(), *, pinned: bool = False) -> ConversationSummary:
    return ConversationSummary(number, f"Chat {number}", f"Preview {number}", pinned, (NOW - ago).astimezone(UTC))


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def words(shown_list: ConversationList) -> list[str]:
    rows = shown_list.entries.rows
    return [row.words if isinstance(row, Heading) else row.title for row in rows]


def test_groups_by_age_with_the_pinned_on_top(shown_list: ConversationList) -> None:
    ages_h = {1: 0.1, 2: 20, 3: 50, 4: 24 * 6, 5: 24 * 400}
    shown_list.show_conversations([summary(n, hours(h)) for n, h in ages_h.items()] + [summary(6, pinned=True)], NOW)
    assert words(shown_list) == [
        *("Pinned", "Chat 6", "Today", "Chat 1", "Yesterday", "Chat 2", "Earlier this week", "Chat 3"),
        *("Earlier", "Chat 4", "Chat 5"),
    ]
    times = [shown_list.entries.when(row) for row in (3, 5, 7, 9, 10)]
    assert times == ["15:24", "19:30", "Mon", "Thu", "Oct 21, 2025"]
    translation.use("zh")
    assert words(shown_list)[::2][:2] == ["已置顶", "今天"]
    assert [shown_list.entries.when(row) for row in (7, 10)] == ["周一", "2025年10月21日"]


@pytest.mark.parametrize(("day", "key"), [(23, "yesterday"), (24, "today"), (22, "earlier")])
def test_on_a_tuesday_nothing_stands_between_monday_and_yesterday(day: int, key: str) -> None:
    starts = ages.borders(datetime(2026, 11, 24, 10).astimezone())
    assert ages.group(datetime(2026, 11, day, 9).astimezone(), starts) == key


def test_an_update_keeps_the_choice_and_the_scroll_bar(shown_list: ConversationList) -> None:
    many = [summary(n, hours(n)) for n in range(1, 300)]
    shown_list.show_conversations(many, NOW)
    opened: list[int] = []
    shown_list.opened.connect(opened.append)
    shown_list.choose(150)
    turn()
    place = shown_list.verticalScrollBar().value()
    assert place > 0
    many[200] = replace(many[200], updated=NOW, title="Moved")
    shown_list.show_conversations(many, NOW)
    turn()
    row = shown_list.currentIndex().row()
    assert words(shown_list)[row] == "Chat 150"
    assert shown_list.verticalScrollBar().value() == place
    assert words(shown_list)[1] == "Moved"
    assert opened == []


def test_only_the_rows_that_differ_are_exchanged(shown_list: ConversationList) -> None:
    many = [summary(n, hours(n)) for n in range(1, 50)]
    shown_list.show_conversations(many, NOW)
    touched: list[str] = []
    model = shown_list.entries
    model.rowsRemoved.connect(lambda *_: touched.append("removed"))
    model.rowsInserted.connect(lambda *_: touched.append("inserted"))
    model.modelReset.connect(lambda: touched.append("reset"))
    model.dataChanged.connect(lambda first, last: touched.append(f"changed {first.row()}"))
    shown_list.show_conversations([replace(many[0], title="Other"), *many[1:]], NOW)
    shown_list.set_streaming(2, True)
    assert touched == ["changed 1", "changed 2"]
    assert model.below(2) == "Answering…"


def test_click_and_arrows_open(shown_list: ConversationList) -> None:
    opened: list[int] = []
    shown_list.opened.connect(opened.append)
    shown_list.show_conversations([summary(n, hours(n)) for n in (1, 2, 3)], NOW)
    turn()
    at = shown_list.visualRect(shown_list.entries.index(2, 0)).center()
    QTest.mouseClick(shown_list.viewport(), Qt.MouseButton.LeftButton, pos=at)
    QTest.keyClick(shown_list, Qt.Key.Key_Down)
    assert opened == [2, 3]


def test_f2_renames_in_place(shown_list: ConversationList) -> None:
    renamed: list[tuple[int, str]] = []
    shown_list.renamed.connect(lambda number, title: renamed.append((number, title)))
    shown_list.show_conversations([summary(1), summary(2, hours(1))], NOW)
    shown_list.choose(2)
    shown_list.setFocus()
    QTest.keyClick(shown_list, Qt.Key.Key_F2)
    turn()
    box = shown_list.findChild(QLineEdit)
    assert box.text() == "Chat 2"
    assert box.accessibleName()
    QTest.keyClicks(box, "A better title")
    QTest.keyClick(box, Qt.Key.Key_Return)
    turn()
    assert renamed == [(2, "A better title")]


def test_the_menu_and_the_delete_key_ask(shown_list: ConversationList) -> None:
    asked: list[object] = []
    shown_list.pin_asked.connect(lambda number, on: asked.append(("pin", number, on)))
    shown_list.export_asked.connect(lambda number: asked.append(("export", number)))
    shown_list.delete_asked.connect(lambda number: asked.append(("delete", number)))
    shown_list.show_conversations([summary(1, pinned=True)], NOW)
    turn()
    at: QPoint = shown_list.visualRect(shown_list.entries.index(1, 0)).center()
    shown_list.customContextMenuRequested.emit(at)
    menu = shown_list.findChild(QMenu)
    actions: dict[str, QAction] = {action.text(): action for action in menu.actions()}
    assert list(actions) == ["Rename", "Unpin", "Export", "", "Delete"]
    for name in ("Unpin", "Export", "Delete"):
        actions[name].trigger()
    menu.close()
    shown_list.choose(1)
    QTest.keyClick(shown_list, Qt.Key.Key_Delete)
    assert asked == [("pin", 1, False), ("export", 1), ("delete", 1), ("delete", 1)]


def test_search_shows_messages_with_the_match_marked(shown_list: ConversationList) -> None:
    opened: list[tuple[int, int]] = []
    shown_list.hit_opened.connect(lambda chat, message: opened.append((chat, message)))
    shown_list.show_conversations([summary(1), summary(2)], NOW)
    shown_list.choose(1)
    plain = Hit(2, 7, "Menu", "夫妻肺片：beef", NOW)
    shown_list.show_hits([plain], NOW)
    turn()
    unmarked = shown_list.grab().toImage()
    shown_list.show_hits([replace(plain, snippet="夫妻\x02肺片\x03：beef")], NOW)
    turn()
    assert shown_list.grab().toImage() != unmarked
    assert words(shown_list) == ["1 message found", "Menu"]
    spoken = shown_list.entries.data(shown_list.entries.index(1, 0), Qt.ItemDataRole.AccessibleTextRole)
    assert "夫妻肺片" in spoken
    at = shown_list.visualRect(shown_list.entries.index(1, 0)).center()
    QTest.mouseClick(shown_list.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert opened == [(2, 7)]
    shown_list.show_conversations([summary(1), summary(2)], NOW)
    assert words(shown_list)[shown_list.currentIndex().row()] == "Chat 1"
    shown_list.show_hits([], NOW)
    assert words(shown_list) == ["Nothing found"]


def test_ten_thousand_rows_have_no_widgets_and_stay_quick(shown_list: ConversationList) -> None:
    shown_list.show_conversations([summary(n, hours(n)) for n in range(10_000)], NOW)
    turn()
    assert shown_list.entries.rowCount() > 10_000
    assert len(shown_list.viewport().children()) < 5
