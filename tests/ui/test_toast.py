"""Toasts: they hide nothing that is read or pressed, and leave by themselves and with their page."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QCursor
from PySide6.QtWidgets import QLabel, QWidget

from app.ui.tokens import Motion, Size
from app.ui.widgets import toast as toast_module
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, pane, row
from app.ui.widgets.stepper import Stepper
from app.ui.widgets.toast import SHADOW, Toast
from tests.helpers.window import application, shown, turn, until

WORDS = "197 of 200 rows are in identity-mended.jsonl"


@pytest.fixture(autouse=True)
def app() -> None:
    application()


def body_of(toast: Toast) -> QRect:
    return QRect(toast.pos(), toast.size()).adjusted(SHADOW, SHADOW, -SHADOW, -SHADOW)


def band(*parts: QWidget | None) -> QWidget:
    made = pane(row(*parts))
    made.setFixedHeight(Size.PAGE_HEADER)
    return made


def page(head: QWidget, foot: QWidget) -> QWidget:
    status = QWidget()
    status.setFixedHeight(Size.STATUS)
    rows = [
        label(f"row {place} of what is wrong with the data, from one side of the page to the other")
        for place in range(18)
    ]
    return pane(column(head, *rows, None, foot, status, gap=0))


def presented(host: QWidget, bound: QWidget | None = None) -> Toast:
    toast = Toast(host, "ok", WORDS, page=bound)
    toast.present()
    return toast


def below(host: QWidget, toast: Toast) -> list[str]:
    """The words and buttons that it hides."""
    area, found = body_of(toast), []
    for one in host.findChildren(QWidget):
        if isinstance(one, QLabel | Button) and one.isVisible() and not toast.isAncestorOf(one):
            wide = min(one.width(), one.sizeHint().width())
            if QRect(one.mapTo(host, QPoint(0, 0)), one.size()).adjusted(0, 0, wide - one.width(), 0).intersects(area):
                found.append(one.text())
    return found


def test_it_lies_in_the_gap_of_the_head() -> None:
    steps = Stepper("steps", ["Model", "Data", "Method"])
    host = page(band(Button("Back"), steps), band(Button("Discard"), None, Button("Next")))
    with shown(host, 1440, 900):
        toast = presented(host)
        assert not below(host, toast) and body_of(toast).bottom() < Size.PAGE_HEADER
        assert body_of(toast).left() > steps.mapTo(host, QPoint(0, 0)).x() + steps.sizeHint().width()
        toast.dismiss()


def test_with_a_full_head_it_lies_in_the_foot_and_else_in_a_gap_between() -> None:
    full = "a name as long as the head, with everything that is to be known of the run, and how far it is"
    host = page(band(label(full)), band(Button("Discard"), None, Button("Next")))
    with shown(host, 720, 700):
        toast = presented(host)
        assert not below(host, toast) and body_of(toast).top() > 700 - Size.STATUS - Size.PAGE_HEADER
        toast.dismiss()
    host = page(band(label(full)), band(label(full)))
    with shown(host, 720, 700):
        toast = presented(host)
        assert host.rect().contains(body_of(toast))
        toast.dismiss()
    host = page(band(label(full)), band(label(full)))
    with shown(host, 1440, 900):  # the rows end before the edge of the page
        for one in host.findChildren(QLabel):
            one.setText(f"{one.text()}, {full}") if one.text() == full else None
        toast = presented(host)
        assert not below(host, toast) and Size.PAGE_HEADER < body_of(toast).top()
        toast.dismiss()


def test_it_goes_with_its_page_and_another_does_not() -> None:
    one, other = QWidget(), QWidget()
    host = pane(column(one, other))
    with shown(host):
        bound, free = presented(host, one), presented(host)
        one.hide()
        turn()
        assert free.isVisible() and not [toast for toast in host.findChildren(Toast) if toast is bound]
        free.dismiss()


def test_a_pointer_that_happens_to_lie_there_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Motion, "TOAST_STAY", 1)
    monkeypatch.setattr(toast_module, "LOOK_AGAIN", 1)
    pointer = QPoint(QCursor.pos())
    monkeypatch.setattr(QCursor, "pos", lambda: QPoint(pointer))
    with shown(QWidget()) as host:
        resting = presented(host)
        resting.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
        until(lambda: not host.findChildren(Toast), "gone by itself")
        read = presented(host)
        read.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
        pointer += QPoint(3, 0)
        until(lambda: read._stayed > 5, "it waits for the reader")
        assert read.isVisible()
        read._stayed = toast_module.STAY_AT_MOST
        until(lambda: not host.findChildren(Toast), "not for ever")
