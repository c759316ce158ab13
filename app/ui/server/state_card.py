"""How the server stands: its state, where it answers, who else reaches it there, and what answers a failure.

Invariant: an address is shown only while something listens there.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QWidget

from app.services.addresses import Reach
from app.services.inference import ModelState
from app.services.request_log import RequestLog
from app.services.serving import ServerState
from app.ui import shortcuts, theme
from app.ui.server import words
from app.ui.tokens import Space, Type
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.layout import Card, Elided, Line, column, label, pane, row
from app.ui.widgets.page import section
from app.ui.widgets.progress import Bar
from core.translation import say


class AddressLine(QWidget):
    """One address, to be read and copied."""

    def __init__(self, copied: Callable[[str], object], *, main: bool = False) -> None:
        super().__init__()
        self.address = ""
        self.words = Elided("", "body")
        self.words.setFont(theme.font(Type.CODE, code=True))
        self.remark = label("", "caption", "muted")
        self.copy: Button | IconButton
        if main:
            self.copy = Button(say("server_ui.copy_address"), "secondary", "copy", small=True)
            self.copy.setToolTip(shortcuts.keys("server", "copy_address"))
        else:
            self.copy = IconButton("copy", say("server_ui.copy_address"))
        self.copy.clicked.connect(lambda: copied(self.address))
        line = row(self.words, self.remark, self.copy, gap=Space.M)
        if main:
            self.browse = IconButton("external", say("server_ui.browse"))
            self.browse.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(self.address.removesuffix("v1"))))
            line.addWidget(self.browse)
        line.setStretch(0, 1)
        self.setLayout(line)

    def show_address(self, address: str, remark: str = "") -> None:
        self.address = address
        self.words.setText(address)
        self.remark.setText(remark)
        self.remark.setVisible(bool(remark))
        self.copy.setAccessibleDescription(address)


class StateCard(QWidget):
    """
    Signals:
        remedy_asked: what answers the failure, a word of words.Remedy
        copied: an address is in the clipboard
    """

    remedy_asked = Signal(str)
    copied = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.badge = Badge(say("server_ui.closed"), "neutral", "dot")
        self.sentence = label("", "body", "soft", wrap=True)
        self.bar = Bar(say("server_ui.opening"), 0.0)
        self.bar.hide()
        self.stage = label("", "caption", "muted")
        self.stage.setFont(theme.font(tabular=True))
        self.stage.hide()
        self._remedy = ""
        self.fix = Button("", "secondary", small=True)
        self.fix.clicked.connect(lambda: self.remedy_asked.emit(self._remedy))
        self.fix.hide()
        self.main = AddressLine(self._copy, main=True)
        self.others = column(gap=Space.XS)
        self._others: list[AddressLine] = []
        self._others_title = label(say("server_ui.others"), "caption", "muted", wrap=True)
        where = column(Line(), self.main, self._others_title, self.others, gap=Space.M)
        self._where = pane(where)
        self._where.hide()
        self.counts = label("", "caption", "muted", wrap=True)
        self.counts.setFont(theme.font(tabular=True))
        head = row(self.badge, self.sentence, self.fix, gap=Space.M)
        head.setStretch(1, 1)
        body = column(head, column(self.bar, self.stage, gap=Space.XS), self._where, self.counts, gap=Space.M)
        self.setLayout(column(section(say("server_ui.state"), "", Card(body)), gap=0))

    def show_state(self, state: ServerState, model: ModelState, log: RequestLog) -> None:
        now = words.standing(state, model)
        self.badge.show_state(now.name, now.tone, now.mark)
        self.sentence.setText(now.sentence)
        progress = model.progress if model.phase == "loading" else None
        stage = words.progress_words(model)
        self.stage.setText(stage)
        self.stage.setVisible(now.loading and bool(stage))
        self.bar.setVisible(now.loading)
        self.bar.set_share(progress.done / progress.total if progress and progress.total else 0.0)
        is_failed = state.phase == "closed" and state.error is not None
        self._remedy = words.remedy(state.error) if is_failed and state.error is not None else ""
        self.fix.setVisible(bool(self._remedy))
        self._where.setVisible(state.phase == "open")
        told = (("answered", log.answered), ("failed", log.failed), ("refused", log.refused))
        parts = [say(f"server_ui.count_{name}", count=count) for name, count in told if count]
        if state.live:
            parts.insert(0, words.queue_words(state.live))
        self.counts.setText(" · ".join(parts))
        self.counts.setVisible(bool(parts))

    def show_remedy(self, verb: str) -> None:
        """What the button says; which may have to be found out first."""
        if verb != self.fix.text():
            self.fix.setText(verb)
            self.fix.setAccessibleName(verb)
            self.fix.updateGeometry()

    def show_addresses(self, address: str, reach: Reach | None) -> None:
        """reach: how others come here, None where they cannot."""
        self.main.show_address(f"{address}/v1" if address else "", say("server_ui.for_here") if reach else "")
        port = address.rpartition(":")[2]
        found = [(f"http://{one}:{port}/v1", "") for one in reach.addresses] if reach else []
        found += [(f"http://{name}:{port}/v1", say("server_ui.by_name")) for name in reach.names] if reach else []
        self._others_title.setVisible(reach is not None)
        self._others_title.setText(say("server_ui.others" if found else "server_ui.no_network"))
        while len(self._others) < len(found):
            line = AddressLine(self._copy)
            self._others.append(line)
            self.others.addWidget(line)
        for place, line in enumerate(self._others):
            line.setVisible(place < len(found))
            if place < len(found):
                line.show_address(*found[place])

    def copy_address(self) -> None:
        if self._where.isVisible():
            self._copy(self.main.address)

    def _copy(self, address: str) -> None:
        QGuiApplication.clipboard().setText(address)
        self.copied.emit()
