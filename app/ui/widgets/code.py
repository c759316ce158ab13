"""The code block: language, copy button, coloured lines that scroll sideways."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QRectF, QTimer
from PySide6.QtGui import QGuiApplication, QPaintEvent, QTextBlock, QTextCharFormat, QTextLayout
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.tokens import Size, Space, Type
from app.ui.transcript import highlight
from app.ui.transcript.highlight import Piece
from app.ui.widgets.button import Button
from app.ui.widgets.layout import label
from app.ui.widgets.painting import begin
from app.ui.widgets.prose import Text, card
from core.translation import say

HEAD = Size.CONTROL_S + Space.XS
SIDE = Space.M + 2
LIVE_LIMIT = 6_000
"""Characters up to which code is coloured while it still grows."""
LIVE_EVERY_MS = 500
COPIED_MS = 1600


class CodeBlock(QWidget):
    """Code that may still be growing. Plain at once; the colours follow in slices when the event loop is idle."""

    def __init__(self, language: str, source: str) -> None:
        super().__init__()
        self.language, self.source = language, source
        self._head = label(language or say("transcript.plain_code"), "caption", "muted")
        self._head.setParent(self)
        self._copy = Button(say("kit.copy"), "ghost", "copy", small=True)
        self._copy.setParent(self)
        self._copy.clicked.connect(self._take)
        self._text = Text(Type.CODE, code=True)
        self._text.setParent(self)
        self._text.setAccessibleName(say("transcript.code", language=language or say("transcript.plain_code")))
        self._colours: dict[int, tuple[tuple[int, int, str], ...]] = {}
        self._found: list[Piece] = []
        self._work: Iterator[list[Piece]] | None = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._colour)
        self.redraw()

    def redraw(self) -> None:
        """Write everything anew in the theme in force."""
        self._colours.clear()
        self._text.dress()
        self._text.show_plain(self.source)
        self._restart(0)

    def append(self, code: str) -> None:
        """More code at the end."""
        self.source += code
        self._text.append_plain(code)
        if len(self.source) <= LIVE_LIMIT and not self._later.isActive():
            self._later.start(LIVE_EVERY_MS)
            self._work = None

    def replace(self, language: str, source: str) -> None:
        """Show this instead; costs only what is new where it goes on from what is shown."""
        if language != self.language:
            self.language = language
            self._head.setText(language or say("transcript.plain_code"))
        if source.startswith(self.source):
            if len(source) > len(self.source):
                self.append(source[len(self.source) :])
        else:
            self.source = source
            self._text.show_plain(source)
            self._colours.clear()
            self._restart(0)

    def finish(self) -> None:
        """It will not grow any more: colour all of it."""
        self._restart(0)

    def _restart(self, wait_ms: int) -> None:
        self._work, self._found = None, []
        self._later.start(wait_ms)

    def _colour(self) -> None:
        """One slice; the next one comes in a later turn of the event loop."""
        if self._work is None:
            self._work, self._found = highlight.pieces(self.source, self.language), []
        slice_ = next(self._work, None)
        if slice_ is None:
            self._work = None
            self._lay(self._found)
            return
        self._found += slice_
        self._later.start(0)

    def _lay(self, pieces: list[Piece]) -> None:
        """Colour the lines whose pieces differ from what they have."""
        block = self._text.document().begin()
        index = 0
        dirty: list[QTextBlock] = []
        while block.isValid():
            start, end = block.position(), block.position() + block.length() - 1
            here: list[tuple[int, int, str]] = []
            while index < len(pieces) and pieces[index].start < end:
                piece = pieces[index]
                first, last = max(piece.start, start), min(piece.start + piece.length, end)
                if last > first:
                    here.append((first - start, last - first, piece.role))
                if piece.start + piece.length > end:
                    break  # goes on in the next line
                index += 1
            if self._colours.get(block.blockNumber()) != (wanted := tuple(here)):
                self._colours[block.blockNumber()] = wanted
                block.layout().setFormats([_range(*part) for part in here])
                dirty.append(block)
            block = block.next()
        if dirty:
            place = dirty[0].position()
            length = dirty[-1].position() + dirty[-1].length() - place
            self._text.document().markContentsDirty(place, length)

    def _take(self) -> None:
        QGuiApplication.clipboard().setText(self.source)
        self._copy.setText(say("kit.copied"))
        QTimer.singleShot(COPIED_MS, self._copy, lambda: self._copy.setText(say("kit.copy")))

    def fit(self, width: int) -> int:
        """Lay out for a width in px; returns the height."""
        inner = width - SIDE - Space.S
        height = self._text.fit(inner)
        copy = self._copy.sizeHint()
        self._copy.setGeometry(width - copy.width() - Space.XS, Space.XS, copy.width(), copy.height())
        self._head.setGeometry(SIDE, Space.XS, max(0, width - copy.width() - 2 * SIDE), Size.CONTROL_S)
        self._text.setGeometry(SIDE, HEAD + 2, inner, height)
        return HEAD + 2 + height + Space.M

    def paintEvent(self, event: QPaintEvent) -> None:
        card(begin(self), QRectF(self.rect()))


def _range(start: int, length: int, role: str) -> QTextLayout.FormatRange:
    look = QTextCharFormat()
    look.setForeground(theme.color(getattr(theme.colors(), role)))
    result = QTextLayout.FormatRange()
    result.start, result.length, result.format = start, length, look
    return result
