"""The sample wall: the same questions at every checkpoint, side by side, with what is new in each answer marked.

Invariant: only what is in view is painted, so that a thousand checkpoints cost no more than ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from app.ui import aio, theme
from app.ui.tokens import Space, Type
from app.ui.training_run.answer_text import laid_out
from app.ui.training_run.wall_rows import WallRows
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Card, column
from app.ui.widgets.page import section
from app.ui.widgets.painting import KEYBOARD, text
from core import figures
from core.training.run_files import Answer
from core.translation import say

Index = QModelIndex | QPersistentModelIndex
COLUMN, TALLEST, EMPTY, HEAD = 264, 420, 170, 36  # px at the usual text size
MEASURED = 6  # of a row's answers, the longest, whose heights are taken


class WallDelegate(QStyledItemDelegate):
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        c, rect = theme.colors(), QRectF(option.rect)
        rows = index.model()
        assert isinstance(rows, WallRows)
        painter.save()
        painter.setClipRect(rect)
        painter.fillRect(QRectF(rect.left(), rect.bottom(), rect.width(), 1), theme.color(c.border))
        if not index.row() % 2:
            shown = rect.adjusted(Space.M + max(0.0, -rect.left()), 0, -Space.M, 0)  # stays while the answers scroll
            text(painter, shown, rows.prompts[index.row() // 2], theme.font(Type.BODY_STRONG), c.text)
        else:
            if index.column():
                painter.fillRect(QRectF(rect.left(), rect.top(), 1, rect.height()), theme.color(c.border))
            if option.state & QStyle.StateFlag.State_HasFocus and option.widget.property("keyboard"):
                painter.fillRect(QRectF(rect.left(), rect.top(), 3, rect.height()), theme.color(c.focus))
            prompt, column_ = index.row() // 2, index.column()
            words = rows.text(prompt, column_)
            painter.setPen(theme.color(c.text if words else c.text_muted))
            wide, tall = rect.width() - 2 * Space.M, rect.height() - 2 * Space.S
            laid = laid_out(rows.said(prompt, column_) or "–", wide, rows.new_parts(prompt, column_), tall)
            laid.layout.draw(painter, QPointF(rect.left() + Space.M, rect.top() + Space.S))
        painter.restore()


class WallTable(QTableView):
    """
    Signals:
        read_asked: an answer, all of it: prompt and column
    """

    read_asked = Signal(int, int)

    def __init__(self, rows: WallRows) -> None:
        super().__init__()
        self.rows = rows
        self.setModel(rows)
        rows.setParent(self)
        self.setAccessibleName(say("run_ui.samples"))
        self.setItemDelegate(WallDelegate(self))
        self.doubleClicked.connect(self._ask_to_read)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(20)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setFixedHeight(round(HEAD * theme.state.text_scale))  # Qt would ask a thousand columns
        theme.state.changed.connect(self.fit)

    def fit(self) -> None:
        """Columns as wide as there is room, rows as tall as their answers, all rows in view."""
        count = len(self.rows.steps)
        if not count:
            return
        width = max(round(COLUMN * theme.state.text_scale), self.viewport().width() // count)
        header = self.horizontalHeader()
        if header.defaultSectionSize() != width:
            header.setDefaultSectionSize(width)  # of all there are and of those to come
        tall = header.height() + 2
        for prompt in range(len(self.rows.prompts)):
            heights = (round(34 * theme.state.text_scale), self._height(prompt, width - 2 * Space.M))
            for row, height in zip((2 * prompt, 2 * prompt + 1), heights, strict=True):
                self.setRowHeight(row, height)
                tall += height
        has_bar = width * count > self.viewport().width()
        self.setFixedHeight(tall + (self.horizontalScrollBar().sizeHint().height() if has_bar else 0))

    def _height(self, prompt: int, width: int) -> int:
        texts = sorted((self.rows.said(prompt, one) for one in range(len(self.rows.steps))), key=len)
        highest = max(laid_out(words or "–", width).height for words in texts[-MEASURED:])
        return math.ceil(min(highest, TALLEST * theme.state.text_scale)) + 2 * Space.S

    def span_prompts(self) -> None:
        self.clearSpans()
        if len(self.rows.steps) > 1:
            for prompt in range(len(self.rows.prompts)):
                self.setSpan(2 * prompt, 0, 1, len(self.rows.steps))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit()

    def _ask_to_read(self, index: QModelIndex) -> None:
        if index.isValid() and index.row() % 2 and self.rows.text(index.row() // 2, index.column()):
            self.read_asked.emit(index.row() // 2, index.column())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._ask_to_read(self.currentIndex())
        elif event.matches(QKeySequence.StandardKey.Copy) and self.currentIndex().isValid():
            QGuiApplication.clipboard().setText(str(self.currentIndex().data()))
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.setProperty("keyboard", event.reason() in KEYBOARD)
        super().focusInEvent(event)


class SampleWall(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.rows = WallRows()
        self.table = WallTable(self.rows)
        self.table.read_asked.connect(self._read)
        self._known: tuple[tuple[str, ...], tuple[Answer, ...]] | None = None
        self.nothing = EmptyState("chat", say("run_ui.no_prompts"), say("run_ui.no_prompts_means"))
        self.waiting = EmptyState("clock", say("run_ui.no_answers"), say("run_ui.no_answers_means"))
        for one in (self.nothing, self.waiting):
            one.setFixedHeight(EMPTY)
        card = Card(column(self.nothing, self.waiting, self.table), padding=1)
        self.setLayout(column(section(say("run_ui.samples"), say("run_ui.samples_means"), card)))
        self._show_parts()

    def show_answers(self, prompts: tuple[str, ...], answers: Sequence[Answer], most: int) -> None:
        """`most`: tokens of an answer. Where it was scrolled to stays; from its end it follows."""
        self.rows.most = most
        if (prompts, tuple(answers)) == self._known:
            return
        self._known = prompts, tuple(answers)
        bar = self.table.horizontalScrollBar()
        at, is_at_end = bar.value(), bar.value() == bar.maximum() > 0
        self.rows.show_answers(prompts, answers)
        self.table.span_prompts()
        self._show_parts()
        self.table.fit()
        bar.setValue(bar.maximum() if is_at_end else at)

    def _read(self, prompt: int, column_: int) -> None:
        from app.ui.models.reading import ReadingDialog

        rows = self.rows
        when = str(rows.headerData(column_, Qt.Orientation.Horizontal))
        dialog = ReadingDialog(self.window(), say("run_ui.answer_of", prompt=rows.prompts[prompt], when=when))
        goes_on = say("run_ui.answer_goes_on", count=figures.count(rows.most)) if rows.is_cut(prompt, column_) else ""
        dialog.show_plain("\n\n".join(part for part in (rows.said(prompt, column_), goes_on) if part))
        aio.spawn(aio.ask(dialog), "read an answer")

    def _show_parts(self) -> None:
        has_answers, has_prompts = bool(self.rows.steps), bool(self.rows.prompts)
        self.table.setVisible(has_answers)
        self.waiting.setVisible(has_prompts and not has_answers)
        self.nothing.setVisible(self._known is not None and not has_prompts)  # nothing is said before it was read
