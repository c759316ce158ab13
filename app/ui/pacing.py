"""News that come faster than anybody reads: passed on at most so often. Invariant: the last of them is never lost."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer


class Paced(QTimer):
    """`ask()` as often as you like; `do` is called once for all that came within `every_ms`."""

    def __init__(self, parent: QObject, every_ms: int, do: Callable[[], object]) -> None:
        super().__init__(parent, singleShot=True, interval=every_ms)
        self.timeout.connect(lambda: do())

    def ask(self, _: object = None) -> None:
        if not self.isActive():
            self.start()
