"""Another name for a table, typed into one field. Invariant: it is accepted only with a name that says something."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QLineEdit, QWidget

from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from core.translation import say

LONGEST = 200


class NameDialog(QDialog):
    def __init__(self, parent: QWidget, name: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(say("profile_ui.rename"))
        self.setModal(True)
        self.field = QLineEdit(name, maxLength=LONGEST)
        self.field.setAccessibleName(say("profile_ui.run_name"))
        self.field.setMinimumWidth(420)
        self.field.selectAll()
        keep, cancel = Button(say("profile_ui.rename_now"), "primary"), Button(say("kit.cancel"), "secondary")
        self.field.textChanged.connect(lambda text: keep.setEnabled(bool(text.strip())))
        self.field.returnPressed.connect(keep.click)
        keep.clicked.connect(self.accept)
        cancel.clicked.connect(self.reject)
        body = column(label(say("profile_ui.rename"), "heading"), self.field, row(None, cancel, keep), gap=Space.M)
        body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.setLayout(body)

    @property
    def name(self) -> str:
        return " ".join(self.field.text().split())
