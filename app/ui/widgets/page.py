"""The frame that pages share: the 56 px head, headed sections, a centred column that scrolls."""

from __future__ import annotations

from PySide6.QtWidgets import QLayout, QWidget

from app.ui.tokens import Size, Space
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row


def page_header(title: str, *controls: QWidget | None) -> QWidget:
    """The head of a page: title at the left, then what chooses, None for the stretch, then actions."""
    line = row(label(title, "title"), *controls, gap=Space.M)
    line.setContentsMargins(Space.XL, 0, Space.XL, 0)
    result = pane(line)
    result.setFixedHeight(Size.PAGE_HEADER)
    return result


def section(title: str, remark: str, body: QWidget | QLayout, *controls: QWidget) -> QWidget:
    """A headed part of a page."""
    head = row(label(title, "heading"), label(remark, "caption", "muted"), None, *controls, gap=Space.M)
    bar = pane(head)
    bar.setFixedHeight(Size.CONTROL)
    return pane(column(bar, body, gap=Space.S))


def form(*sections: QWidget) -> QWidget:
    """Sections under one another, no wider than a form, in a scroll area."""
    middle = pane(column(*sections, None, gap=Space.XL))
    middle.setMaximumWidth(Size.FORM)
    outer = row(middle)
    outer.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
    return Scroll(pane(outer))


def headed(header: QWidget, body: QWidget) -> QLayout:
    """A page: its head, a hairline, and what fills the rest."""
    whole = column(header, Line(), body, gap=0)
    whole.setStretch(2, 1)
    return whole
