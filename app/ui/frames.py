"""How long the window's thread was held: the slowest frame of the last minute, for the status bar and the tour.

Invariant: costs one timer tick in 50 ms and no more; a tick that comes late was held up by that much.
"""

from __future__ import annotations

import time
from collections import deque

from PySide6.QtCore import QObject, Qt, QTimer

TICK_MS = 50
MEMORY_S = 60.0


class FrameWatch(QObject):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._late: deque[tuple[float, float]] = deque()  # (when, ms), slowest kept in front
        self._last = time.perf_counter()
        timer = QTimer(self, interval=TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        timer.timeout.connect(self._tick)
        timer.start()

    def slowest_ms(self) -> float:
        """Of the last minute; 0 when nothing was late."""
        return self._late[0][1] if self._late else 0.0

    def _tick(self) -> None:
        now = time.perf_counter()
        late = max(0.0, (now - self._last) * 1000 - TICK_MS)
        self._last = now
        while self._late and self._late[-1][1] <= late:  # a monotonic queue: the front is the maximum
            self._late.pop()
        self._late.append((now, late))
        while self._late[0][0] < now - MEMORY_S:
            self._late.popleft()
