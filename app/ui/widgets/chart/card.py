"""The small card beside the crosshair: the step, and every line's name and value there.

Invariant: it never lies under the mouse's own step and never leaves the plot.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.chart.lines import Line, Reading
from app.ui.widgets.painting import begin, box, dot, text, width_of

SWATCH = 20
WIDEST = 200  # px of a name at the usual text size
STROKES = {
    "solid": Qt.PenStyle.SolidLine,
    "dash": Qt.PenStyle.DashLine,
    "dot": Qt.PenStyle.DotLine,
    "dash_dot": Qt.PenStyle.DashDotLine,
    "dash_dot_dot": Qt.PenStyle.DashDotDotLine,
}
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


def paint_swatch(painter: QPainter, x: float, middle: float, line: Line, *, is_faint: bool = False) -> None:
    """A piece of the line itself, so that stroke and colour both say which it is."""
    tint = theme.with_alpha(theme.colors().series[line.look.series], 0.45 if is_faint else 1.0)
    pen = QPen(tint, 1.0 if is_faint else 2.0, STROKES[line.look.stroke], Qt.PenCapStyle.FlatCap)
    if line.look.stroke == "dash":
        pen.setDashPattern([3, 2])  # so that it is seen on so little room
    painter.setPen(pen)
    painter.drawLine(QPointF(x, middle), QPointF(x + SWATCH, middle))
    if line.has_points:
        dot(painter, x + SWATCH / 2, middle, 3.5, theme.colors().series[line.look.series])


class Card(QWidget):
    """Laid over the plot; the mouse goes through it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._plot = parent
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._title = ""
        self._rows: list[tuple[Reading, str]] = []
        self._names = self._values = 0.0
        self.hide()

    def show_at(self, x: float, title: str, rows: Sequence[tuple[Reading, str]]) -> None:
        """`x`: of the crosshair, in px of the parent. A row is a reading and a remark on it."""
        self._title, self._rows = title, self._fitting(rows)
        name_font, value_font = theme.font(Type.CAPTION), theme.font(Type.CAPTION_STRONG, tabular=True)
        widest = WIDEST * theme.state.text_scale
        self._names = min(widest, max((width_of(self._named(*row), name_font) for row in self._rows), default=0.0) + 1)
        self._values = max((width_of(reading.shown, value_font) for reading, _ in self._rows), default=0.0) + 1
        width = 2 * Space.M + SWATCH + Space.S + self._names + Space.L + self._values
        width = max(width, 2 * Space.M + width_of(title, value_font) + 1)
        self.resize(round(width), round(2 * Space.S + self._tall() * (1 + len(self._rows))))
        left = x + Space.M if x + Space.M + self.width() <= self._plot.width() else x - Space.M - self.width()
        self.move(max(0, round(left)), Space.M)
        self.show()
        self.raise_()
        self.update()

    def _fitting(self, rows: Sequence[tuple[Reading, str]]) -> list[tuple[Reading, str]]:
        """Where there is no room for all rows, those of raw values go first."""
        most = int((self._plot.height() - Space.M - 2 * Space.S) / self._tall()) - 1
        if len(rows) > most:
            rows = [row for row in rows if not row[0].is_faint]
        return list(rows[: max(1, most)])

    @staticmethod
    def _named(reading: Reading, remark: str) -> str:
        return f"{reading.name} · {remark}" if remark else reading.name

    @staticmethod
    def _tall() -> float:
        return round(20 * theme.state.text_scale)

    def paintEvent(self, event: QPaintEvent) -> None:
        c, painter, tall = theme.colors(), begin(self), self._tall()
        box(painter, QRectF(self.rect()), Radius.M, c.raised, c.border_strong)
        name_font, value_font = theme.font(Type.CAPTION), theme.font(Type.CAPTION_STRONG, tabular=True)
        inner = self.width() - 2 * Space.M
        text(painter, QRectF(Space.M, Space.S, inner, tall), self._title, value_font, c.text_muted)
        for row, (reading, remark) in enumerate(self._rows, 1):
            y = Space.S + row * tall
            paint_swatch(painter, Space.M, y + tall / 2, reading.line, is_faint=reading.is_faint)
            x = Space.M + SWATCH + Space.S
            text(painter, QRectF(x, y, self._names, tall), self._named(reading, remark), name_font, c.text_soft)
            text(painter, QRectF(Space.M, y, inner, tall), reading.shown, value_font, c.text, RIGHT)
