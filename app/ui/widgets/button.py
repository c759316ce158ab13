"""Buttons: one painted class for all variants, plus the icon button, the chip and the select."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QEnterEvent, QFocusEvent, QFont, QPainter, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QSizePolicy, QWidget

from app.ui import icons, theme
from app.ui.tokens import Radius, Size, Space, Type
from app.ui.widgets.menu import Menu
from app.ui.widgets.painting import KEYBOARD, begin, box, focus_ring, text, width_of

WIDEST = 320  # px of a value at the usual text size
Variant = Literal["primary", "secondary", "ghost", "danger", "soft"]


class Pressable(QAbstractButton):
    """Base of everything clickable: hover, press, and a focus ring that shows for the keyboard only."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.ring = False
        self.hovered = False

    def enterEvent(self, event: QEnterEvent) -> None:
        self.hovered = True
        self.update()

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered = False
        self.update()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.ring = event.reason() in KEYBOARD
        super().focusInEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self.ring = False
        super().focusOutEvent(event)

    def veil(self) -> str | None:
        """The state layer to paint over the ground, if any."""
        if not self.isEnabled():
            return None
        return theme.colors().pressed if self.isDown() else theme.colors().hover if self.hovered else None


class Button(Pressable):
    """A labelled action. At most one primary per region."""

    def __init__(
        self,
        words: str,
        variant: Variant = "secondary",
        icon: str = "",
        *,
        small: bool = False,
        trailing: str = "",
    ) -> None:
        super().__init__(words)
        self.setText(words)
        self.variant: Variant = variant
        self.icon_name = icon
        self.trailing = trailing
        self.small = small
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        height = Size.CONTROL_S if self.small else Size.CONTROL
        pad = Space.S + 2 if self.small else Space.M + 2
        width = pad * 2 + width_of(self.text(), self._font())
        gap = 6 if self.text() else 0
        width += (Size.ICON_S + gap) * bool(self.icon_name) + (Size.ICON_S + gap - 4) * bool(self.trailing)
        return QSize(round(width + 0.5), height)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def _font(self) -> QFont:
        return theme.font(Type.CAPTION_STRONG if self.small else Type.BODY_STRONG)

    def _look(self) -> tuple[str | None, str | None, str]:
        """Fill, line and text colour."""
        c = theme.colors()
        if not self.isEnabled():
            return (None if self.variant == "ghost" else c.sunken), None, c.text_disabled
        if self.variant == "primary":
            fill = c.accent_pressed if self.isDown() else c.accent_hover if self.hovered else c.accent
            return fill, None, c.on_accent
        if self.variant == "danger":
            return c.bad_soft, None, c.bad
        if self.variant == "soft":
            return c.accent_soft, None, c.accent_text
        if self.variant == "ghost":
            return None, None, c.text_soft
        return c.raised, c.border_strong, c.text

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = begin(self)
        rect = QRectF(self.rect())
        fill, line, tint = self._look()
        box(painter, rect, Radius.M, fill, line)
        veil = self.veil()
        if veil and self.variant != "primary":
            box(painter, rect, Radius.M, veil)
        self._paint_content(painter, rect, tint)
        if self.ring:
            focus_ring(painter, rect, Radius.M)

    def _paint_content(self, painter: QPainter, rect: QRectF, tint: str) -> None:
        font = self._font()
        words = width_of(self.text(), font)
        gap = 6 if self.text() else 0
        lead = (Size.ICON_S + gap) if self.icon_name else 0
        tail = (Size.ICON_S + gap - 4) if self.trailing else 0
        x = max(Space.S, (rect.width() - words - lead - tail) / 2)
        y = (rect.height() - Size.ICON_S) / 2
        if self.icon_name:
            icons.paint(painter, self.icon_name, x, y, Size.ICON_S, tint)
        room = min(words + 1, rect.width() - x - lead - tail - 4)
        text(painter, QRectF(x + lead, 0, room, rect.height()), self.text(), font, tint)
        if self.trailing:
            icons.paint(painter, self.trailing, x + lead + room + gap - 4, y, Size.ICON_S, tint)


def wide(button: Button) -> Button:
    """Let a button take the whole width of its column."""
    button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return button


class IconButton(Pressable):
    """A square button with an icon only; its name is also its tooltip."""

    def __init__(self, icon: str, name: str, *, size: int = Size.CONTROL_S, filled: bool = False) -> None:
        super().__init__(name)
        self.setToolTip(name)
        self.icon_name = icon
        self.filled = filled
        self.setFixedSize(size, size)

    def show_as(self, icon: str, name: str) -> None:
        """Another sign and name: what it does now is something else."""
        if icon != self.icon_name:
            self.icon_name = icon
            self.setAccessibleName(name)
            self.setToolTip(name)
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        radius = self.height() / 2 if self.filled else Radius.M
        tint = c.text_soft if self.hovered or self.isChecked() else c.text_muted
        if self.filled:
            fill = c.accent_pressed if self.isDown() else c.accent_hover if self.hovered else c.accent
            box(painter, rect, radius, fill if self.isEnabled() else c.pressed)
            tint = c.on_accent if self.isEnabled() else c.text_disabled
        elif self.isChecked():
            box(painter, rect, radius, c.selected)
        if not self.filled and (veil := self.veil()):
            box(painter, rect, radius, veil)
        size = Size.ICON if self.height() >= Size.CONTROL else Size.ICON_S
        icons.paint(painter, self.icon_name, (rect.width() - size) / 2, (rect.height() - size) / 2, size, tint)
        if self.ring:
            focus_ring(painter, rect, radius)


class Chip(Button):
    """A quiet pill that shows a value and opens something: the model picker, a filter, a toggle."""

    def __init__(self, words: str, icon: str = "", *, opens: bool = False, checkable: bool = False) -> None:
        super().__init__(words, "ghost", icon, small=True, trailing="down" if opens else "")
        self.setCheckable(checkable)

    def _look(self) -> tuple[str | None, str | None, str]:
        c = theme.colors()
        if self.isChecked():
            return c.accent_soft, None, c.accent_text
        return None, c.border_strong, c.text_soft


class Select(Button):
    """Choice of one of a few values; a menu opens below."""

    chosen = Signal(str)

    def __init__(self, name: str, values: Sequence[str], current: str = "") -> None:
        super().__init__(current or values[0], "secondary", trailing="down")
        self.setAccessibleName(name)
        self._values = list(values)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.clicked.connect(self._open)

    def sizeHint(self) -> QSize:
        """A long value is cut rather than pushing others away."""
        hint = super().sizeHint()
        return QSize(min(hint.width(), round(WIDEST * theme.state.text_scale)), hint.height())

    def _paint_content(self, painter: QPainter, rect: QRectF, tint: str) -> None:
        room = rect.width() - Space.M - Size.ICON_S - Space.S
        text(painter, QRectF(Space.M, 0, room, rect.height()), self.text(), theme.font(Type.BODY), tint)
        x = rect.width() - Size.ICON_S - Space.S
        icons.paint(painter, "down", x, (rect.height() - Size.ICON_S) / 2, Size.ICON_S, theme.colors().text_muted)

    def _open(self) -> None:
        menu = Menu(self)
        for value in self._values:
            menu.add(value, partial(self._choose, value), "check" if value == self.text() else "")
        menu.setMinimumWidth(self.width())
        menu.popup(self.mapToGlobal(self.rect().bottomLeft()))

    def set_values(self, values: Sequence[str], current: str) -> None:
        """Other values to choose from; nobody is told."""
        self._values = list(values)
        self.show_value(current)

    def show_value(self, value: str) -> None:
        """Show a value without telling anyone."""
        if value != self.text():
            self.setText(value)
            self.updateGeometry()
            self.update()

    def _choose(self, value: str) -> None:
        self.show_value(value)
        self.chosen.emit(value)
