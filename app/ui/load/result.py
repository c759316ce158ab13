"""What was loaded and why so: device, precision, weights, KV cache, attention, context, and the notices.

Invariant: every fact is the worker's own report of what is in memory, never what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui import theme
from app.ui.model_words import device_words, kv_words, notice_words, reason_words, weights_words
from app.ui.tokens import Size, Space
from app.ui.widgets.feedback import Glyph
from app.ui.widgets.layout import Line, column, label, pane, row
from core import figures
from core.models import device_plan
from core.protocol.messages import ModelLoaded
from core.translation import catalogue, language, say

NAME_WIDTH = 170


def facts(loaded: ModelLoaded) -> list[tuple[str, str, str]]:
    """(key of the name, value, reason or "") in the order they are shown."""
    weights = f"{weights_words(loaded)} · {figures.size(loaded.weight_bytes)}"
    rows = [
        ("family", family_words(loaded.family), ""),
        ("device", device_words(loaded.device), reason_words(loaded.device_reason)),
        ("precision", figures.precision(loaded.precision), reason_words(loaded.precision_reason)),
        ("weights", weights, ""),
        ("backend", loaded.backend, reason_words(loaded.backend_reason)),
        ("kv_cache", kv_words(loaded.kv_cache), ""),
        ("attention", _attention(loaded.attention), ""),
        ("context", _lengths(loaded), ""),
        *(("placement", f"{device_words(device)}: {_parts(what)}", "") for device, what in loaded.placement),
        ("took", figures.duration(loaded.seconds), ""),
    ]
    return [row for row in rows if row[1]]


def family_words(family: str) -> str:
    key = f"family.{family}"
    return say(key) if family and key in catalogue(language()) else ""


def _attention(name: str) -> str:
    key = f"load.attention_{name}"
    return say(key) if key in catalogue(language()) else name


def _parts(what: str) -> str:
    """ "embedding 0-15 head" in words; anything else as it is."""
    try:
        return device_plan.described(what)
    except KeyError:
        return what


def _lengths(loaded: ModelLoaded) -> str:
    limit = figures.count(loaded.context_length)
    if 0 < loaded.trained_length < loaded.context_length:
        return say("load.context_trained", limit=limit, trained=figures.count(loaded.trained_length))
    return say("models.tokens", count=limit)


class LoadedFacts(QWidget):
    """The report of one loading."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: QVBoxLayout = column(gap=Space.S)
        self.setLayout(self._lines)

    def build(self, loaded: ModelLoaded) -> Iterator[None]:
        """In pieces; what was shown before is gone."""
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        for key, value, reason in facts(loaded):
            self._lines.addWidget(_fact(say(f"load.fact_{key}"), value, reason))
            yield
        if loaded.notices:
            self._lines.addWidget(Line())
            self._lines.addWidget(label(say("load.remarks"), "strong"))
        for notice in loaded.notices:
            self._lines.addWidget(_remark(notice_words(notice)))
            yield
        self._lines.addStretch(1)


def _fact(name: str, value: str, reason: str) -> QWidget:
    title = label(name, "body", "muted")
    title.setFixedWidth(round(NAME_WIDTH * theme.state.text_scale))
    words = column(label(value, "body", wrap=True), gap=Space.XXS)
    if reason:
        words.addWidget(label(reason, "caption", "muted", wrap=True))
    line = row(title, words, gap=Space.M)
    line.setStretch(1, 1)
    line.setAlignment(title, Qt.AlignmentFlag.AlignTop)
    return pane(line)


def _remark(words: str) -> QWidget:
    mark = Glyph("info", "info", Size.ICON_S)
    line = row(mark, label(words, "body", "soft", wrap=True), gap=Space.S)
    line.setStretch(1, 1)
    line.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
    return pane(line)
