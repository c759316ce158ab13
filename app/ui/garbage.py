"""Python's cyclic garbage, collected on the window's thread only.

Invariant: while the window lives no other thread collects. A collection that starts by itself runs in whichever thread
allocates, and one that destroys a QObject there (a timer left in a cycle) crashes the program.
"""

from __future__ import annotations

import gc
import time

from PySide6.QtCore import QObject, QTimer

TICK_MS = 500
YOUNG = 2_000  # objects made since the last look from which it is worth it
FULL_EVERY_S = 60.0


class Garbage(QObject):
    """On from its making until `stop()`: small collections often, a full one each minute (20 ms or less)."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        self._full_at = time.monotonic() + FULL_EVERY_S
        self._timer = QTimer(self, interval=TICK_MS)
        self._timer.timeout.connect(self._collect)
        self._timer.start()

    def stop(self) -> None:
        """Back to Python's own way."""
        self._timer.stop()
        gc.enable()

    def _collect(self) -> None:
        if time.monotonic() >= self._full_at:
            self._full_at = time.monotonic() + FULL_EVERY_S
            gc.collect()
        elif gc.get_count()[0] >= YOUNG:
            gc.collect(1)
