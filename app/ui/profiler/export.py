"""A table on its way out: CSV, Markdown, a picture; and Markdown on the clipboard.

Invariant: the picture is painted a part at a time, so that no frame waits for it, and files are written whole.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtWidgets import QFileDialog, QWidget
from shiboken6 import isValid

from app.ui import aio, theme
from app.ui.profiler.parts import Section
from app.ui.profiler.run_view import RunView
from app.ui.tokens import Space, Type
from app.ui.widgets.button import Select
from app.ui.widgets.chart import export as pictures
from app.ui.widgets.chart.bar import file_name
from app.ui.widgets.layout import label
from app.ui.widgets.painting import text
from core.translation import say

if TYPE_CHECKING:
    from app.services.profiling import Format, ProfilingService
    from app.ui.window import Window

SUFFIXES = {"csv": "csv", "markdown": "md", "png": "png"}
RATIO = 2.0
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class Exporting:
    def __init__(self, window: Window, profiling: ProfilingService) -> None:
        self._window, self._profiling = window, profiling

    async def ask(self, form: str, view: RunView) -> None:
        """Where to, then write it. Raises UserError when it cannot be."""
        if view.shown is None:
            return
        run = view.shown.run
        suffix = SUFFIXES[form]
        dialog = QFileDialog(self._window, say(f"profile_ui.save_{form}"), str(Path.home()))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(suffix)
        dialog.selectFile(f"{file_name(run.name)}.{suffix}")
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            await self.write(form, view, Path(dialog.selectedFiles()[0]))

    async def write(self, form: str, view: RunView, file: Path) -> None:
        """Raises UserError profile_not_written, or as the pictures of charts."""
        assert view.shown is not None
        if form == "png":
            image = await picture(view)
            if image is None:
                return
            await asyncio.to_thread(pictures.write_picture, image, file)
        else:
            kind: Format = "csv" if form == "csv" else "markdown"
            await self._profiling.export(view.shown.run.id, kind, file)
        self._window.notify("ok", say("profile_ui.written", file=file.name))

    async def copy(self, view: RunView) -> None:
        """As Markdown. Raises UserError."""
        assert view.shown is not None
        QGuiApplication.clipboard().setText(await self._profiling.export(view.shown.run.id, "markdown"))
        self._window.notify("ok", say("profile_ui.copied"))


async def picture(view: RunView) -> QImage | None:
    """Every part that is shown, one below the other; None when the view went away meanwhile."""
    assert view.shown is not None
    head = label(view.shown.run.name, "title")
    head.ensurePolished()
    head.resize(head.sizeHint())
    parts: list[QWidget] = [head, view.facts, *(part for part in view.sections.values() if not part.isHidden())]
    wide = max(part.width() for part in parts)
    tall = sum(part.height() + Space.XL for part in parts)
    margin = Space.XL
    image = QImage(round((wide + 2 * margin) * RATIO), round((tall + margin) * RATIO), QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(RATIO)
    image.fill(theme.color(theme.colors().surface))
    y = margin
    for part in parts:
        painter = QPainter(image)
        part.render(painter, QPoint(margin, y), QRect(part.rect()), QWidget.RenderFlag.DrawChildren)
        painter.translate(margin, y)
        _write_controls(painter, part)
        painter.end()
        y += part.height() + Space.XL
        await asyncio.sleep(0)
        if not isValid(view):
            return None
    return image


def _write_controls(painter: QPainter, part: QWidget) -> None:
    """A picture has nothing to press: what is chosen stands there as words, the rest is gone."""
    c = theme.colors()
    sections = [part, *part.findChildren(Section)]
    for control in (one for section in sections if isinstance(section, Section) for one in section.controls):
        if not control.isVisibleTo(part):
            continue
        place = QRectF(QRect(control.mapTo(part, QPoint(0, 0)), control.size()))
        painter.fillRect(place, theme.color(c.surface))
        if isinstance(control, Select):
            text(painter, place, control.text(), theme.font(Type.CAPTION), c.text_soft, RIGHT)
