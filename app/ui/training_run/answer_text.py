"""An answer as text to draw: wrapped, its new parts marked, and where there is no room for all of it, an ellipsis.

Invariant: the last line that is shown says so where more would follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import QPointF
from PySide6.QtGui import QTextCharFormat, QTextLayout, QTextOption

from app.ui import theme
from app.ui.tokens import Type
from app.ui.training_run.wall_rows import Part

MORE = "…"


class Laid(NamedTuple):
    """Ready to draw."""

    layout: QTextLayout
    height: float


def laid_out(words: str, width: float, parts: Sequence[Part] = (), tall: float = float("inf")) -> Laid:
    """As many lines as `tall` holds, at least one; the last of them says that there is more."""
    layout, ends = _lines(words, width, parts)
    line_px = Type.BODY.size * Type.BODY.line * theme.state.text_scale
    heights = [max(line_px, layout.lineAt(place).height()) for place in range(len(ends))]
    room = max(1, sum(sum(heights[: place + 1]) <= tall + 1 for place in range(len(heights))))
    if room < len(ends):
        kept = words[: ends[room - 1]].rstrip()
        while kept:  # until the ellipsis has room in the last line
            layout, found = _lines(kept + MORE, width, _within(parts, len(kept)))
            if len(found) <= room:
                break
            kept = kept[:-1].rstrip()
        return Laid(layout, sum(heights[:room]))
    return Laid(layout, sum(heights))


def _lines(words: str, width: float, parts: Sequence[Part]) -> tuple[QTextLayout, list[int]]:
    """With the place where each line ends."""
    layout = QTextLayout(words.replace("\n", "\u2028"), theme.font(Type.BODY, literal=True))
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout.setTextOption(option)
    layout.setFormats([_marked(*part) for part in parts])
    ends: list[int] = []
    height, line_px = 0.0, Type.BODY.size * Type.BODY.line * theme.state.text_scale
    layout.beginLayout()
    while (line := layout.createLine()).isValid():
        line.setLineWidth(width)
        line.setPosition(QPointF(0, height))
        height += max(line_px, line.height())
        ends.append(line.textStart() + line.textLength())
    layout.endLayout()
    return layout, ends


def _within(parts: Sequence[Part], end: int) -> list[Part]:
    return [(start, min(size, end - start)) for start, size in parts if start < end]


def _marked(start: int, length: int) -> QTextLayout.FormatRange:
    look = QTextCharFormat()
    look.setBackground(theme.color(theme.colors().accent_soft))
    look.setForeground(theme.color(theme.colors().accent_text))
    found = QTextLayout.FormatRange()
    found.start, found.length, found.format = start, length, look
    return found
