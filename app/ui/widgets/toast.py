"""A short message over the window, gone by itself, at a place where it hides nothing.

Invariant: while there is a gap that is large enough, no word and no control lies below it; it never outlives the page
it was said of, nor STAY_AT_MOST.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtCore import QEasingCurve, QEvent, QObject, QPoint, QPropertyAnimation, QRect, QRectF, Qt, QTimer
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QCursor, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QAbstractScrollArea, QLabel, QLineEdit, QWidget

from app.ui import theme
from app.ui.tokens import Motion, Radius, Size, Space
from app.ui.widgets.badge import Badge, Tone
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.feedback import MARK, Glyph
from app.ui.widgets.layout import label, row
from app.ui.widgets.painting import begin, box
from core.translation import say

SHADOW = 14
ABOVE_FOOT = 140  # where there is no gap: clear of the message box and the status bar
STAY_AT_MOST = 30_000  # ms, under the pointer too
LOOK_AGAIN = 1000
STEP = 12  # px between two looks for a gap
SAYING = (QLabel, QAbstractButton, QLineEdit, Badge)  # what a person reads or presses
FILLED = (QAbstractScrollArea,)  # of these, all


class Toast(QWidget):
    """At most one action. `page`: what it is said of; when that goes out of view, it goes too."""

    def __init__(
        self,
        host: QWidget,
        tone: Tone,
        words: str,
        action: str = "",
        do: Callable[[], object] | None = None,
        page: QWidget | None = None,
    ) -> None:
        super().__init__(host)
        self._host = host
        self._words = words
        self._stayed = 0
        self._pointer = QPoint()
        line = row(Glyph(MARK[tone], tone), label(words), gap=Space.M)
        if action:
            button = Button(action, "ghost", small=True)
            button.clicked.connect(self.dismiss)
            if do is not None:
                button.clicked.connect(do)
            line.addWidget(button)
        close = IconButton("close", say("kit.close"))
        close.clicked.connect(self.dismiss)
        line.addWidget(close)
        edge = SHADOW
        line.setContentsMargins(Space.L + edge, Space.XXS + edge, Space.S + edge, Space.XXS + edge)
        self.setLayout(line)
        if page is not None:
            page.installEventFilter(self)

    def present(self) -> None:
        """Slide in where there is room and leave after a while."""
        self.adjustSize()
        rest = place(self._host, self)
        self.show()
        self.raise_()
        motion = QPropertyAnimation(self, b"pos", self)
        motion.setDuration(theme.duration(Motion.SLOW))
        motion.setStartValue(rest + QPoint(0, Space.S))
        motion.setEndValue(rest)
        motion.setEasingCurve(QEasingCurve.Type.OutCubic)
        motion.start()
        self.move(rest)
        QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, self._words))
        self._pointer = QCursor.pos()
        QTimer.singleShot(Motion.TOAST_STAY, self, self._expire)

    def _expire(self) -> None:
        """It waits for a pointer that was moved onto it, not for one that happened to lie there."""
        self._stayed += LOOK_AGAIN
        is_read = self.underMouse() and QCursor.pos() != self._pointer
        if is_read and self._stayed < STAY_AT_MOST:
            QTimer.singleShot(LOOK_AGAIN, self, self._expire)
        else:
            self.dismiss()

    def dismiss(self) -> None:
        self.hide()
        self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Hide and not self.isHidden():
            self.dismiss()
        return False

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        body = rect.adjusted(SHADOW, SHADOW, -SHADOW, -SHADOW)
        for spread in range(SHADOW - 2, 0, -1):  # painted, because an effect would cost a pixmap per frame
            around = body.adjusted(-spread, 3 - spread, spread, spread + 2)
            box(painter, around, Radius.L + spread, theme.with_alpha(c.shadow, 0.045 if theme.is_dark() else 0.009))
        box(painter, body, Radius.L, c.raised, c.border_strong)


# --- where it can lie ----------------------------------------------------------------------


def place(host: QWidget, toast: QWidget) -> QPoint:
    """Of the toast's corner, its shadow included: in the page's head, else in its foot, else in the lowest gap between
    them; only where there is none does it hide something."""
    wide, tall = toast.width() - 2 * SHADOW, toast.height() - 2 * SHADOW
    corner = QPoint(SHADOW, SHADOW)
    taken = list(_taken(host, toast))
    foot = host.height() - Size.STATUS - Size.PAGE_HEADER
    middle = (Size.PAGE_HEADER - tall) // 2
    for top in (middle, foot + middle, *range(foot - tall, Size.PAGE_HEADER, -STEP)):
        band = QRect(0, top, host.width(), tall)
        left = _gap(band, taken, wide)
        if left is not None:
            return QPoint(left, band.top()) - corner
    return QPoint((host.width() - wide) // 2, host.height() - tall - ABOVE_FOOT) - corner


def _gap(band: QRect, taken: list[QRect], wide: int) -> int | None:
    """Where something `wide` px can begin: in the middle of the band, or of the gap that is nearest to it."""
    spans = sorted((one.left(), one.right() + 1) for one in taken if one.intersects(band))
    middle = (band.width() - wide) // 2
    found, reached = [], 0
    for left, right in (*spans, (band.width(), band.width())):
        low, high = reached + Space.XL, left - Space.XL - wide  # words may grow a little
        if high >= low:
            found.append(middle if low <= middle <= high else (low + high) // 2)
        reached = max(reached, right)
    return min(found, key=lambda one: abs(one - middle), default=None)


def _taken(host: QWidget, toast: QWidget) -> Iterator[QRect]:
    """What is said or can be pressed now, in px of the host."""
    for one in host.findChildren(QWidget):
        if not isinstance(one, (*SAYING, *FILLED)) or not one.isVisible() or one is toast or toast.isAncestorOf(one):
            continue
        whole = one.visibleRegion().boundingRect()
        if isinstance(one, QLabel):
            whole = whole.intersected(_written(one))
        elif isinstance(one, QAbstractButton):
            whole.setRight(min(whole.right(), one.sizeHint().width()))
        if not whole.isEmpty():
            yield QRect(one.mapTo(host, whole.topLeft()), whole.size())


def _written(one: QLabel) -> QRect:
    """Of a label, the part with words."""
    if not one.text():
        return QRect()
    lines = one.text().split("\n")
    wide = min(one.width(), max(one.fontMetrics().horizontalAdvance(line) for line in lines) + 1)
    is_right = bool(one.alignment() & Qt.AlignmentFlag.AlignRight)
    return QRect(one.width() - wide if is_right else 0, 0, wide, one.height())
