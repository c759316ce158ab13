"""What this machine has, in the window: the findings of `core.doctor` with their reasons."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui import aio
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge, Tone
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import copyable
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from app.ui.widgets.page import form, section
from core import doctor
from core.doctor import Finding, Status
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext

_TONES: dict[Status, Tone] = {"ok": "ok", "note": "neutral", "warn": "warn", "bad": "bad"}


class MachineView(QWidget):
    """Looks anew each time it is shown."""

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self._context = context
        self._findings: list[Finding] = []
        self._lines: QVBoxLayout = column(gap=0)
        again = Button(say("machine.again"), "secondary", "refresh", small=True)
        again.clicked.connect(lambda: aio.spawn(self._look(), "doctor"))
        self._copy = Button(say("kit.copy"), "secondary", "copy", small=True)
        self._copy.clicked.connect(self._take)
        card = Card(self._lines, padding=0)
        part = section(say("settings.machine"), say("machine.remark"), card, again, self._copy)
        self.setLayout(column(form(part), gap=0))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        aio.spawn(self._look(), "doctor")

    async def _look(self) -> None:
        self._findings = await asyncio.to_thread(doctor.examine, self._context.preferences.models_folder)
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.deleteLater()
        for place, finding in enumerate(self._findings):
            if place:
                self._lines.addWidget(Line())
            self._lines.addWidget(_line(finding))

    def _take(self) -> None:
        text = msgspec.json.format(msgspec.json.encode(doctor.as_json(self._findings)), indent=2).decode()
        QGuiApplication.clipboard().setText(text)
        self._copy.setText(say("kit.copied"))


def _line(finding: Finding) -> QWidget:
    name = label(finding.name, "strong")
    name.setFixedWidth(170)
    words = column(copyable(finding.value), gap=Space.XXS)
    if finding.reason:
        words.addWidget(label(finding.reason, "caption", "muted", wrap=True))
    badge = Badge(say(f"machine.{finding.status}"), _TONES[finding.status], "dot")
    line = row(name, words, badge, gap=Space.L)
    line.setStretch(1, 1)
    line.setContentsMargins(Space.L, Space.M, Space.L, Space.M)
    return pane(line)
