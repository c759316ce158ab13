"""The tools of a chart: smoothing, logarithmic scale, follow, export.

Invariant: it shows what the chart does, also when that was changed by hand on the chart itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from app.ui import aio
from app.ui.tokens import Space
from app.ui.widgets.button import Button, Chip
from app.ui.widgets.chart import export
from app.ui.widgets.chart.chart import Chart
from app.ui.widgets.layout import label, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.slider import Slider
from core.errors import UserError
from core.translation import say

STOPS = 100  # of the slider: its place is the weight
MOST = 0.999


class ChartBar(QWidget):
    """`exported` tells the file, `failed` the UserError: the page has the place to say it."""

    exported = Signal(Path)
    failed = Signal(UserError)

    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart
        self._name = label("", "caption", "soft")
        self.smoothing = Slider("")
        self.smoothing.setRange(0, STOPS)
        self.smoothing.setFixedWidth(120)
        self._weight = label("", "caption", "muted")
        self.log, self.follow = Chip("", checkable=True), Chip("", checkable=True)
        self.export = Button("", "ghost", "share", small=True, trailing="down")
        parts = (self._name, self.smoothing, self._weight, None, self.log, self.follow, self.export)
        self.setLayout(row(*parts, gap=Space.S))
        self.smoothing.valueChanged.connect(lambda stop: self.chart.set_smoothing(weight_of(stop)))
        self.log.clicked.connect(lambda on: self.chart.set_log(on))
        self.follow.clicked.connect(lambda on: self.chart.set_following(on))
        self.export.clicked.connect(self._open)
        chart.view_changed.connect(self._show)
        self.say_words()
        self._show()

    def say_words(self) -> None:
        """In the language in force."""
        self._name.setText(say("chart.smoothing"))
        self.smoothing.setAccessibleName(say("chart.smoothing"))
        self.smoothing.setToolTip(say("chart.smoothing_hint"))
        for button, key in ((self.log, "log"), (self.follow, "follow"), (self.export, "export")):
            button.setText(say(f"chart.{key}"))
            button.setAccessibleName(say(f"chart.{key}"))
            button.setToolTip(say(f"chart.{key}_hint"))
            button.updateGeometry()

    def _show(self) -> None:
        has_smoothed = any(line.is_smoothed for line in self.chart.lines) or not self.chart.lines
        for part in (self._name, self.smoothing, self._weight):
            part.setVisible(has_smoothed)
        self.log.setVisible(self.chart.has_scales)
        self.smoothing.blockSignals(True)
        self.smoothing.setValue(stop_of(self.chart.smoothing))
        self.smoothing.blockSignals(False)
        self.smoothing.update()
        shown = f"{self.chart.smoothing:.3f}".rstrip("0").rstrip(".")
        self._weight.setText(shown)
        self._weight.setFixedWidth(self._weight.fontMetrics().horizontalAdvance("0.9999"))
        self.log.setChecked(self.chart.is_log)
        self.follow.setChecked(self.chart.is_following)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.LanguageChange:
            self.say_words()

    # --- export ------------------------------------------------------------------------

    def _open(self) -> None:
        menu = Menu(self)
        menu.add(say("chart.copy"), self.copy, "copy")
        menu.add(say("chart.save_png"), lambda: aio.spawn(self._ask("png", self.save_picture), "export"), "download")
        menu.add(say("chart.save_csv"), lambda: aio.spawn(self._ask("csv", self.save_table), "export"), "download")
        menu.popup(self.export.mapToGlobal(self.export.rect().bottomLeft()))

    def copy(self) -> None:
        """The picture, for pasting."""
        QGuiApplication.clipboard().setImage(self.chart.image())

    async def save_picture(self, file: Path) -> None:
        image = self.chart.image()
        await self._save(file, lambda: export.write_picture(image, file))

    async def save_table(self, file: Path) -> None:
        columns = export.snapshot(self.chart.lines)
        await self._save(file, lambda: export.write_table(columns, file))

    async def _save(self, file: Path, write: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(write)
        except UserError as error:
            self.failed.emit(error)
        else:
            self.exported.emit(file)

    async def _ask(self, suffix: str, save: Callable[[Path], Awaitable[None]]) -> None:
        dialog = QFileDialog(self.window(), say(f"chart.save_{suffix}"), str(Path.home()), say(f"chart.{suffix}_files"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(suffix)
        dialog.selectFile(f"{file_name(self.chart.accessibleName())}.{suffix}")
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            await save(Path(dialog.selectedFiles()[0]))


def weight_of(stop: int) -> float:
    return min(stop / STOPS, MOST)


def stop_of(weight: float) -> int:
    return STOPS if weight >= MOST else round(weight * STOPS)


def file_name(title: str) -> str:
    """A name any file system takes."""
    kept = "".join(sign if sign.isalnum() or sign in " -_" else " " for sign in title)
    return " ".join(kept.split())[:60] or "chart"
