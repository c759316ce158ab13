"""Requests to be pasted elsewhere: curl, Python, JavaScript, with the address, the model and the key of this server.

Invariant: the key is shown masked and copied whole.
"""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.services.server_key import masked
from app.ui import theme
from app.ui.widgets.code import COPIED_MS, CodeBlock
from app.ui.widgets.layout import column, label
from app.ui.widgets.page import section
from app.ui.widgets.toggle import Segmented
from core.serving.snippets import SNIPPETS, Kind
from core.translation import say

KINDS: tuple[Kind, ...] = ("curl", "python", "javascript")
NAMES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}
LANGUAGES = {"curl": "bash", "python": "python", "javascript": "javascript"}


class Pasted(CodeBlock):
    """Code as wide as its place. `whole` is what is copied."""

    def __init__(self) -> None:
        self.whole = ""
        super().__init__("bash", "")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        theme.state.changed.connect(self._dress)

    def show_code(self, language: str, shown: str, whole: str) -> None:
        self.whole = whole
        if (language, shown) != (self.language, self.source):
            self.replace(language, shown)
            self._fit()

    def copy(self) -> None:
        """As the button does."""
        self._copy.click()

    def _dress(self) -> None:
        self.redraw()
        self._fit()

    def _fit(self) -> None:
        self.setFixedHeight(self.fit(self.width()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _take(self) -> None:
        QGuiApplication.clipboard().setText(self.whole)
        self._copy.setText(say("kit.copied"))
        QTimer.singleShot(COPIED_MS, self._copy, lambda: self._copy.setText(say("kit.copy")))


class Snippets(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._facts = ("", "", "")
        self.kind = Segmented(say("server_ui.snippets"), [NAMES[kind] for kind in KINDS])
        self.kind.chosen.connect(lambda _: self._show())
        self.code = Pasted()
        self.remark = label("", "caption", "muted", wrap=True)
        body = column(self.code, self.remark)
        self.setLayout(column(section(say("server_ui.snippets"), "", body, self.kind), gap=0))

    def show_server(self, address: str, model: str, key: str, *, is_open: bool) -> None:
        """As it is, or would be once it is open."""
        self._facts = address, model, key
        self._is_open = is_open
        self._show()

    def _show(self) -> None:
        kind = KINDS[self.kind.current]
        address, model, key = self._facts
        write = SNIPPETS[kind]
        shown = write(address, model, masked(key) if key else "").rstrip()
        self.code.show_code(LANGUAGES[kind], shown, write(*self._facts))
        remark = say(f"server_ui.about_{kind}")
        self.remark.setText(remark if self._is_open else f"{say('server_ui.works_when_open')} {remark}")
