"""A row of training data as the model reads it: what it learns to say is coloured, what it only reads is grey.

Invariant: colour is never alone: a token says on hover, and to assistive tools, whether it is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPen

from app.ui import theme
from app.ui.tokenizer.token_view import RADIUS, TokenView
from app.ui.widgets.painting import box
from core.protocol.messages import Token
from core.translation import say

READ, READ_CONTROL, LEARNED, LEARNED_CONTROL, CUT = 10, 11, 12, 13, 14


class LearnedView(TokenView):
    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(say("finetune_ui.xray"))
        self._learned: Sequence[bool] = ()
        self._end = 0

    def show_row(self, tokens: Sequence[Token], learned: Sequence[bool], end: int) -> None:
        """`end`: from there on it is cut off."""
        self._learned, self._end = learned, end
        self.show_tokens(tokens)

    def kind_of(self, index: int) -> int:
        if index >= self._end:
            return CUT
        is_control = self.tokens[index].is_control
        if self._learned[index]:
            return LEARNED_CONTROL if is_control else LEARNED
        return READ_CONTROL if is_control else READ

    def ink_of(self, index: int) -> str:
        c = theme.colors()
        kind = self.kind_of(index)
        return c.text_muted if kind in (READ, READ_CONTROL, CUT) else c.accent_text

    def words_of(self, index: int) -> str:
        state = "cut" if index >= self._end else "learned" if self._learned[index] else "read"
        return f"{super().words_of(index)} · {say(f'finetune_ui.token_{state}')}"

    def paint_ground(self, painter: QPainter, place: QRectF, kind: int) -> None:
        c = theme.colors()
        if kind == CUT:
            painter.setPen(QPen(theme.color(c.border_strong), 1, Qt.PenStyle.DotLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(place.adjusted(0.5, 0.5, -0.5, -0.5), RADIUS, RADIUS)
        elif kind in (READ, READ_CONTROL):
            box(painter, place, RADIUS, c.sunken, c.border_strong if kind == READ_CONTROL else None)
        else:
            box(painter, place, RADIUS, c.accent_soft, c.accent if kind == LEARNED_CONTROL else None)
