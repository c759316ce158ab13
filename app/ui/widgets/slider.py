"""Slider and the field that joins a name, a slider and a number."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPaintEvent
from PySide6.QtWidgets import QDoubleSpinBox, QSlider, QWidget

from app.ui import theme
from app.ui.tokens import Space
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.painting import begin, box, dot

KNOB = 7.0


class Slider(QSlider):
    """A thin horizontal slider; a click jumps to the place."""

    def __init__(self, name: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setAccessibleName(name)
        self.setFixedHeight(22)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def _share(self) -> float:
        span = self.maximum() - self.minimum()
        return (self.value() - self.minimum()) / span if span else 0.0

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._jump(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._jump(event)

    def _jump(self, event: QMouseEvent) -> None:
        share = (event.position().x() - KNOB) / max(1.0, self.width() - 2 * KNOB)
        self.setValue(round(self.minimum() + share * (self.maximum() - self.minimum())))

    def paintEvent(self, event: QPaintEvent) -> None:
        self.paint_rail(self.height())

    def paint_rail(self, height: int) -> None:
        """Rail and knob in the upper `height` px."""
        c = theme.colors()
        painter = begin(self)
        middle = height / 2
        x = KNOB + self._share() * (self.width() - 2 * KNOB)
        box(painter, QRectF(KNOB, middle - 2, self.width() - 2 * KNOB, 4), 2, c.border_strong)
        box(painter, QRectF(KNOB, middle - 2, x - KNOB, 4), 2, c.accent)
        if self.hasFocus():
            dot(painter, x, middle, KNOB + 3, theme.with_alpha(c.focus, 0.35).name(QColor.NameFormat.HexArgb))
        dot(painter, x, middle, KNOB, c.accent)
        dot(painter, x, middle, KNOB - 2.5, c.on_accent)


class SliderField(QWidget):
    """A named number with a slider and a spin box that agree; `hint` explains it in one line."""

    changed = Signal(float)

    def __init__(self, name: str, value: float, low: float, high: float, step: float = 0.05, hint: str = "") -> None:
        super().__init__()
        self._low, self._step = low, step
        self.slider = Slider(name)
        self.slider.setRange(0, round((high - low) / step))
        self.spin = QDoubleSpinBox()
        self.spin.setAccessibleName(name)
        self.spin.setDecimals(0 if step >= 1 else 2)
        self.spin.setRange(low, high)
        self.spin.setSingleStep(step)
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.spin.setFixedWidth(68)
        self.spin.lineEdit().setTextMargins(Space.XS, 0, Space.S, 0)
        self.spin.setFont(theme.font(tabular=True))
        title = label(name)
        title.setBuddy(self.spin)
        title.setToolTip(hint)
        self.setLayout(column(row(title, None, self.spin), self.slider, gap=Space.XXS))
        self.spin.setValue(value)
        self.slider.setValue(round((value - low) / step))
        self.slider.valueChanged.connect(lambda place: self.spin.setValue(self._low + place * self._step))
        self.spin.valueChanged.connect(self._settle)

    def _settle(self, value: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(round((value - self._low) / self._step))
        self.slider.blockSignals(False)
        self.slider.update()
        self.changed.emit(value)
