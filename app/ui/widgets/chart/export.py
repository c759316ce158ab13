"""What leaves a chart: a picture with its title, and a table of everything that was measured.

Invariant: the table holds the values as they came, each at its own step, whatever the view, the scale or the smoothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PySide6.QtCore import QPoint, QRectF
from PySide6.QtGui import QImage, QPainter

from app.ui import theme
from app.ui.tokens import Space, Type
from app.ui.widgets.chart.lines import Line, runs_of
from app.ui.widgets.chart.pyramid import Numbers
from app.ui.widgets.painting import text
from core.errors import UserError

if TYPE_CHECKING:
    from app.ui.widgets.chart.chart import Chart

ROWS = 5000  # of the table, written at once


class Column(NamedTuple):
    name: str
    steps: Numbers
    values: Numbers


def picture(chart: Chart, ratio: float = 2.0) -> QImage:
    """At `ratio` times the size on screen, on the page's ground."""
    head = round(Type.HEADING.size * theme.state.text_scale * 2)
    width, height = chart.width() + 2 * Space.L, chart.height() + head + 2 * Space.L
    image = QImage(round(width * ratio), round(height * ratio), QImage.Format.Format_ARGB32_Premultiplied)
    image.setDevicePixelRatio(ratio)
    image.fill(theme.color(theme.colors().surface))
    cross, chart.cross, chart.plot.ratio = chart.cross, None, ratio
    chart.compose()
    chart.follow.hide()
    painter = QPainter(image)
    place = QRectF(Space.L, Space.L, chart.width(), head)
    text(painter, place, chart.accessibleName(), theme.font(Type.HEADING), theme.colors().text)
    chart.render(painter, QPoint(Space.L, Space.L + head), renderFlags=chart.RenderFlag.DrawChildren)
    painter.end()
    chart.cross, chart.plot.ratio = cross, 0.0
    chart.compose()
    return image


def snapshot(lines: Sequence[Line]) -> list[Column]:
    """The points of now, to be written in another thread while more come."""
    has_runs = len(runs_of(lines)) > 1
    columns = []
    for line in lines:
        name = f"{line.run}: {line.name}" if has_runs and line.run else line.name
        name += f" ({line.unit})" if line.unit else ""
        columns.append(Column(name, line.series.steps.copy(), line.series.values.copy()))
    return columns


def table(columns: Sequence[Column], step_name: str = "step") -> Iterator[str]:
    """CSV in pieces: one row for each step that any column has, gaps left empty."""
    steps = np.unique(np.concatenate([column.steps for column in columns] or [np.empty(0)]))
    yield _rows([[step_name, *(column.name for column in columns)]])
    for start in range(0, len(steps), ROWS):
        part = steps[start : start + ROWS]
        cells = [[f"{step:.0f}" if step == int(step) else repr(step) for step in part.tolist()]]
        cells += [_cells(column, part) for column in columns]
        yield _rows(zip(*cells, strict=True))


def _cells(column: Column, steps: Numbers) -> list[str]:
    places = np.minimum(np.searchsorted(column.steps, steps), max(0, len(column.steps) - 1))
    if not len(column.steps):
        return [""] * len(steps)
    values = np.where(column.steps[places] == steps, column.values[places], np.nan)
    return ["" if value != value else repr(value) for value in values.tolist()]


def _rows(rows: object) -> str:
    text_ = io.StringIO()
    csv.writer(text_, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    return text_.getvalue()


def write_table(columns: Sequence[Column], file: Path) -> None:
    def put(part: Path) -> None:
        with part.open("w", encoding="utf-8-sig", newline="") as out:  # with the mark by which spreadsheets know it
            out.writelines(table(columns))

    _whole(file, put)


def write_picture(image: QImage, file: Path) -> None:
    def put(part: Path) -> None:
        if not image.save(str(part), "PNG"):  # type: ignore[call-overload]
            part.open("ab").close()  # says why it cannot be written
            raise OSError("PNG")

    _whole(file, put)


def _whole(file: Path, put: Callable[[Path], None]) -> None:
    """Atomic: an older file of that name stays whole until the new one is. Raises UserError."""
    part = file.with_name(f"{file.name}.part")
    try:
        put(part)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError("file_not_written", file=str(file), reason=error.strerror or str(error)) from error
