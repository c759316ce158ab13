"""What is on its way into the library: a row each, with amount, speed, time left and a way out."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QSizePolicy

from app.services.transfers import Transfer
from app.ui.widgets.layout import Card, column
from app.ui.widgets.progress import ProgressRow
from core import figures
from core.translation import say


class TransferCard(Card):
    """
    Signals:
        cancelled: the name of the model whose transfer shall end
    """

    cancelled = Signal(str)

    def __init__(self) -> None:
        lines = column(gap=0)
        super().__init__(lines, padding=0)
        self._lines = lines
        self._rows: dict[str, ProgressRow] = {}
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def show_transfers(self, transfers: dict[str, Transfer]) -> None:
        """Hidden while nothing is under way. Rows that go on stay."""
        for name in set(self._rows) - set(transfers):
            gone = self._rows.pop(name)
            self._lines.removeWidget(gone)
            gone.deleteLater()
        for name, transfer in transfers.items():
            if name not in self._rows:
                line = ProgressRow(name)
                line.cancelled.connect(partial(self.cancelled.emit, name))
                self._rows[name] = line
                self._lines.addWidget(line)
            self._rows[name].show_progress(transfer.share, transfer_words(transfer))
        self.setVisible(bool(transfers))


def transfer_words(transfer: Transfer) -> str:
    """How far, how fast, how long still: ready to be shown."""
    parts = [say(f"progress.{transfer.stage}")] if transfer.stage else []
    if transfer.total and transfer.unit == "bytes":
        parts.append(say("models.of", done=figures.size(transfer.done), total=figures.size(transfer.total)))
    if transfer.bytes_per_s:
        parts.append(figures.speed(transfer.bytes_per_s))
    if transfer.seconds_left:
        parts.append(say("models.left", time=figures.duration(transfer.seconds_left)))
    return "  ·  ".join(parts)
