"""The command that serves the same model with vLLM on a larger machine, folded until somebody wants it.

Invariant: a model that vLLM cannot serve gets its reason and no command.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.server_key import masked
from app.ui.server.snippets import Pasted
from app.ui.tokens import Space
from app.ui.widgets.fold import Fold
from app.ui.widgets.layout import Card, column, label, pane
from core.serving.vllm_command import Command
from core.translation import say


class VllmCard(QWidget):
    """
    Signals:
        opened: the command is wanted now
    """

    opened = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.means = label(say("server_ui.vllm_means"), "body", "soft", wrap=True)
        self.code = Pasted()
        self.remarks = label("", "caption", "muted", wrap=True)
        body = column(self.means, self.code, self.remarks, gap=Space.M)
        body.setContentsMargins(Space.L, 0, Space.L, Space.L)
        self.fold = Fold(say("server_ui.vllm"), pane(body), say("server_ui.vllm_remark"))
        self.fold.line.toggled.connect(lambda on: self.opened.emit() if on else None)
        self.setLayout(column(Card(column(self.fold), padding=1), gap=0))

    @property
    def is_open(self) -> bool:
        return self.fold.line.isChecked()

    def show_command(self, command: Command, key: str) -> None:
        self.code.setVisible(bool(command.arguments))
        if command.arguments:
            self.code.show_code("bash", command.text.replace(key, masked(key)) if key else command.text, command.text)
        lines = [say(f"vllm.{one.code}", **one.params) for one in command.remarks]
        self.remarks.setText("\n".join(f"• {line}" for line in lines))
        self.remarks.setVisible(bool(lines))

    def show_trouble(self, words: str) -> None:
        self.code.hide()
        self.remarks.setText(words)
        self.remarks.show()
