"""Where the mended copy of the data shall go: one name, and what will be done.

Invariant: nothing is overwritten, and nothing is written before the button.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtWidgets import QDialog, QLineEdit, QWidget

from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Line, column, label, pane, row
from core.data.problems import KINDS
from core.translation import say

WIDTH = 560


class MendDialog(QDialog):
    """
    Attributes:
        target: the new file
    """

    def __init__(self, parent: QWidget, suggested: Path, codes: Sequence[str]) -> None:
        super().__init__(parent)
        self.setWindowTitle(say("finetune_ui.mend_title"))
        self.setModal(True)
        self._folder = suggested.parent
        self.name = QLineEdit(suggested.name)
        self.name.setAccessibleName(say("finetune_ui.mend_name"))
        self.name.textChanged.connect(self._check)
        self._wrong = label("", "caption", "bad", wrap=True)
        self._wrong.hide()
        what = [f"• {say(f'finetune_ui.kind_{code}')}: {say(_way(code))}" for code in codes if code in KINDS]
        body = column(
            label(say("finetune_ui.mend_means"), "body", "soft", wrap=True),
            label("\n".join(what), "body", wrap=True),
            Space.S,
            label(say("finetune_ui.mend_name"), "strong"),
            self.name,
            self._wrong,
            label(say("finetune_ui.mend_place", folder=str(self._folder)), "caption", "muted", wrap=True),
        )
        body.setContentsMargins(Space.XL, Space.L, Space.XL, Space.L)
        cancel = Button(say("kit.cancel"), "secondary")
        cancel.clicked.connect(self.reject)
        self.write = Button(say("finetune_ui.mend_write"), "primary", "check")
        self.write.clicked.connect(self.accept)
        foot = row(None, cancel, self.write, gap=Space.S)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        self.setLayout(column(pane(body), None, Line(), foot, gap=0))
        self.resize(WIDTH, self.sizeHint().height())

    @property
    def target(self) -> Path:
        return self._folder / self.name.text().strip()

    def _check(self) -> None:
        words = self.name.text().strip()
        wrong = not words or "/" in words or "\\" in words or self.target.exists()
        self._wrong.setText(say("finetune_ui.mend_taken") if wrong else "")
        self._wrong.setVisible(wrong)
        self.write.setEnabled(not wrong)


def _way(code: str) -> str:
    return f"finetune_ui.fix_{KINDS[code].fix or 'drop'}"
