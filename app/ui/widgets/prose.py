"""Read-only rich text exactly as tall as its content: plain words, and Markdown blocks one after another.

Invariant: its parent gives it a width by `fit()` and gets its height back at once; it never scrolls up or down itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QMimeData, QRectF, Qt, QUrl
from PySide6.QtGui import (
    QContextMenuEvent,
    QDesktopServices,
    QFocusEvent,
    QPainter,
    QPaintEvent,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextOption,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QTextBrowser, QTextEdit

from app.ui import theme
from app.ui.tokens import Radius, TextStyle, Type
from app.ui.widgets import marks
from app.ui.widgets.markdown import SAFE, SOURCE, Writer, line_px
from app.ui.widgets.painting import box

if TYPE_CHECKING:
    from app.ui.transcript.growing import Prose


class Text(QTextBrowser):
    """Selectable text without frame or scrolling; the page scrolls. Code does not wrap and scrolls sideways."""

    def __init__(self, style: TextStyle = Type.PROSE, *, code: bool = False, tone: str = "") -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenLinks(False)
        self.setUndoRedoEnabled(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        off, needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOff, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self.setHorizontalScrollBarPolicy(needed if code else off)
        self.setLineWrapMode(QTextEdit.LineWrapMode.NoWrap if code else QTextEdit.LineWrapMode.WidgetWidth)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.viewport().setAutoFillBackground(False)
        self._style, self._wraps, self._code, self._tone = style, not code, code, tone
        self._writer: Writer | None = None
        option = QTextOption()
        modes = QTextOption.WrapMode
        option.setWrapMode(modes.WrapAtWordBoundaryOrAnywhere if self._wraps else modes.NoWrap)
        self.document().setDefaultTextOption(option)
        self.document().setDocumentMargin(0)
        self.dress()
        self.anchorClicked.connect(_open)
        self.highlighted.connect(lambda url: self.setToolTip(url.toString()))

    def dress(self) -> None:
        """Take the fonts of the theme in force; the content is written again by whoever wrote it."""
        font = theme.font(self._style, code=self._code, literal=True)
        self.setFont(font)
        self.document().setDefaultFont(font)

    # plain words

    def show_plain(self, words: str) -> None:
        """Plain words: nothing in them can act as markup."""
        self._writer = None
        self.document().clear()
        cursor = QTextCursor(self.document())
        lines = QTextBlockFormat()
        lines.setLineHeight(line_px(self._style), QTextBlockFormat.LineHeightTypes.FixedHeight.value)
        cursor.setBlockFormat(lines)
        cursor.insertText(words, self._look())
        self._stay_at_start()

    def append_plain(self, words: str) -> None:
        """More of what `show_plain` showed; costs the last line, not the text."""
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        was_empty = cursor.atStart()
        cursor.insertText(words, self._look())
        if was_empty:
            self._stay_at_start()

    def _stay_at_start(self) -> None:
        """The cursor nobody sees was moved by the writing; left there it would scroll long lines sideways."""
        self.setTextCursor(QTextCursor(self.document()))

    def _look(self) -> QTextCharFormat:
        look = QTextCharFormat()
        if self._tone:
            look.setForeground(theme.color(getattr(theme.colors(), self._tone)))
        return look

    # blocks

    def show_blocks(self, blocks: Sequence[Prose], last: str = "") -> None:
        """Write blocks from the start; `last` is the kind of block that stands above this text, if any."""
        self.document().clear()
        self._writer = Writer(self.document(), self.devicePixelRatioF())
        for block in blocks:
            self._writer.write(block)

    def append_block(self, block: Prose) -> None:
        assert self._writer is not None
        self._writer.write(block)

    def append_words(self, words: str) -> None:
        """Make the last paragraph longer while its markup is not known yet."""
        assert self._writer is not None
        self._writer.append_words(words)

    @property
    def last_kind(self) -> str:
        """The kind of the last block, see `markdown.gap`."""
        return self._writer.last if self._writer else ""

    @property
    def has_news(self) -> bool:
        """Whether `draw_formulas` has something to do."""
        return self._writer is not None and self._writer.has_news

    def draw_formulas(self) -> None:
        """Put pictures in the place of the formulas' sources, as far as they are ready."""
        assert self._writer is not None
        self._writer.draw_formulas()

    # size

    def fit(self, width: int) -> int:
        """Lay out for a width in px; returns the height that shows everything."""
        document = self.document()
        if self._wraps and document.textWidth() != width:
            document.setTextWidth(width)
        size = document.size()
        bar = 12 if not self._wraps and size.width() > width else 0
        return math.ceil(size.height()) + bar

    # what Qt calls

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._writer is not None and self._writer.has_marks:
            self._paint_marks(event)
        super().paintEvent(event)

    def _paint_marks(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        marks.paint(painter, self.document(), QRectF(event.rect()))
        painter.end()

    def wheelEvent(self, event: QWheelEvent) -> None:
        sideways = abs(event.angleDelta().x()) > abs(event.angleDelta().y())
        if sideways and not self._wraps:
            super().wheelEvent(event)
        else:
            event.ignore()  # up and down belongs to the page

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        event.ignore()  # the message shows its menu, in our words

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        kept = (Qt.FocusReason.PopupFocusReason, Qt.FocusReason.ActiveWindowFocusReason)
        if event.reason() not in kept and self.textCursor().hasSelection():
            cursor = self.textCursor()
            cursor.clearSelection()
            self.setTextCursor(cursor)

    def selected(self) -> str:
        """The selected words as plain text, formulas as their LaTeX."""
        cursor = self.textCursor()
        words = cursor.selection().toPlainText()
        if "\ufffc" in words:
            for source in self._sources(cursor):
                words = words.replace("\ufffc", source, 1)
        return words

    def createMimeDataFromSelection(self) -> QMimeData:
        data = QMimeData()
        data.setText(self.selected())
        return data

    def _sources(self, cursor: QTextCursor) -> list[str]:
        probe = QTextCursor(self.document())
        found = []
        for place in range(cursor.selectionStart(), cursor.selectionEnd()):
            if self.document().characterAt(place) == "\ufffc":
                probe.setPosition(place + 1)
                found.append(str(probe.charFormat().property(SOURCE)))
        return found


def _open(url: QUrl) -> None:
    """In the browser or the mail program, never here; anything but the web and mail stays closed."""
    if url.toString().lower().startswith(SAFE):
        QDesktopServices.openUrl(url)


def card(painter: QPainter, rect: QRectF) -> None:
    """The ground of a code block."""
    box(painter, rect, Radius.L, theme.colors().sunken, theme.colors().border)
