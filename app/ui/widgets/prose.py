"""Read-only rich text that is exactly as tall as its content, and the code block with its header."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt, QTimer
from PySide6.QtGui import (
    QGuiApplication,
    QPaintEvent,
    QResizeEvent,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextLayout,
    QTextOption,
)
from PySide6.QtWidgets import QFrame, QSizePolicy, QTextBrowser, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.tokens import Radius, Space, TextStyle, Type
from app.ui.widgets import markdown
from app.ui.widgets.button import Button
from app.ui.widgets.layout import label, row
from app.ui.widgets.painting import begin, box
from core.translation import say


class Text(QTextBrowser):
    """A QTextBrowser without frame or scrolling; the page scrolls."""

    def __init__(self, style: TextStyle = Type.PROSE, *, code: bool = False) -> None:
        super().__init__()
        self._wraps = not code
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenExternalLinks(True)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(
            Qt.ScrollBarPolicy.ScrollBarAlwaysOff if self._wraps else Qt.ScrollBarPolicy.ScrollBarAsNeeded
        )
        self._style = style
        font = theme.font(style, code=code, literal=True)
        self.setFont(font)
        self.document().setDefaultFont(font)
        self.document().setDocumentMargin(0)
        option = QTextOption()
        option.setWrapMode(
            QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere if self._wraps else QTextOption.WrapMode.NoWrap
        )
        self.document().setDefaultTextOption(option)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.viewport().setAutoFillBackground(False)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)

    def show_html(self, html: str) -> None:
        self.document().setDefaultStyleSheet(markdown.prose_css())
        self.setHtml(html)
        markdown.dress_tables(self.document())
        self._fit()

    def show_plain(self, source: str, pieces: list[tuple[int, int, QTextCharFormat]]) -> None:
        """Plain text with formats laid over it: no markup, so nothing in the text can act as markup."""
        self.setPlainText(source)
        cursor = QTextCursor(self.document())
        cursor.select(QTextCursor.SelectionType.Document)
        lines = QTextBlockFormat()
        lines.setLineHeight(markdown.line_px(self._style), QTextBlockFormat.LineHeightTypes.FixedHeight.value)
        cursor.mergeBlockFormat(lines)
        block = self.document().begin()
        while block.isValid():
            start, end = block.position(), block.position() + block.length()
            ranges = []
            for place, length, look in pieces:
                if place < end and place + length > start:
                    part = QTextLayout.FormatRange()
                    part.start = max(0, place - start)
                    part.length = min(end, place + length) - max(start, place)
                    part.format = look
                    ranges.append(part)
            block.layout().setFormats(ranges)
            block = block.next()
        self.document().markContentsDirty(0, self.document().characterCount())
        self._fit()

    def _fit(self) -> None:
        if self._wraps:
            self.document().setTextWidth(self.viewport().width())
        extra = 0 if self._wraps or not self.horizontalScrollBar().isVisible() else 12
        height = int(self.document().size().height() + 0.999) + extra
        if height != self.height():
            self.setFixedHeight(height)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()


def ink(tint: str) -> QTextCharFormat:
    """A text format with only a colour."""
    result = QTextCharFormat()
    result.setForeground(theme.color(tint))
    return result


class CodeBlock(QFrame):
    """Code with its language and a copy button; long lines scroll sideways."""

    def __init__(self, source: str, language: str) -> None:
        super().__init__()
        self._source, self._language = source, language
        self._copy = Button(say("kit.copy"), "ghost", "copy", small=True)
        self._copy.clicked.connect(self._take)
        head = row(label(language or "text", "caption", "muted"), None, self._copy)
        head.setContentsMargins(Space.M + 2, Space.XS, Space.XS, 0)
        self._text = Text(Type.CODE, code=True)
        self._text.setAccessibleName(f"{language} code")
        body = QVBoxLayout(self)
        body.setContentsMargins(1, 1, 1, 1)
        body.setSpacing(0)
        body.addLayout(head)
        inner = row(self._text)
        inner.setContentsMargins(Space.M + 2, 2, Space.S, Space.M)
        body.addLayout(inner)
        self.redraw()
        theme.state.changed.connect(self.redraw)

    def redraw(self) -> None:
        """Plain at once, colours when the event loop is idle: loading the highlighter must not hold up a paint."""
        self._text.show_plain(self._source, [])
        QTimer.singleShot(0, self, self._colour)

    def _colour(self) -> None:
        pieces = markdown.highlight(self._source, self._language)
        self._text.show_plain(self._source, [(start, length, ink(tint)) for start, length, tint in pieces])

    def _take(self) -> None:
        QGuiApplication.clipboard().setText(self._source)
        self._copy.setText(say("kit.copied"))
        QTimer.singleShot(1600, lambda: self._copy.setText(say("kit.copy")))

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        box(begin(self), QRectF(self.rect()), Radius.L, c.sunken, c.border)


class Markdown(QWidget):
    """A whole reply: prose and code blocks under one another."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._prose: list[tuple[Text, str]] = []
        body = QVBoxLayout(self)
        body.setContentsMargins(0, 0, 0, 0)
        body.setSpacing(Space.M)
        for part in markdown.blocks(source):
            if isinstance(part, markdown.Code):
                body.addWidget(CodeBlock(part.source, part.language))
            else:
                text = Text()
                self._prose.append((text, part.html))
                body.addWidget(text)
        self.redraw()
        theme.state.changed.connect(self.redraw)

    def redraw(self) -> None:
        for text, html in self._prose:
            text.show_html(html)
