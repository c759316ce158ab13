"""How far a running job of the library is: bytes, speed, time left. Invariant: figures are measured, never guessed;
what is not known yet is None."""

from __future__ import annotations

import time
from collections import deque

from core.protocol.messages import FileProgress, Progress

WINDOW_S = 5.0
SETTLED_S = 1.0  # a speed from less is noise
STALLED_S = 5.0  # without a byte; the network is then waited for


class Transfer:
    """
    Attributes:
        stage: key of `progress.<stage>`, "" before the worker has said anything
        done, total: bytes; total is None while it is not known
        files: of a download, how far each file is that has been looked at
    """

    unit = "bytes"

    def __init__(self, name: str, job_id: str) -> None:
        self.name = name
        self.job_id = job_id
        self.stage = ""
        self.detail = ""
        self.done = 0
        self.total: int | None = None
        self.files: dict[str, FileProgress] = {}
        self._moved_at = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, progress: Progress, now: float | None = None) -> None:
        """`now`: seconds of a monotonic clock."""
        now = time.monotonic() if now is None else now
        if progress.stage != self.stage or progress.done < self.done:
            self._seen.clear()
        if progress.stage != self.stage or progress.done > self.done:
            self._moved_at = now
        self.stage, self.detail = progress.stage, progress.detail
        self.done, self.total = progress.done, progress.total
        self.files |= {file.name: file for file in progress.files}
        self._seen.append((now, progress.done))
        while now - self._seen[0][0] > WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def is_stalled(self) -> bool:
        """Nothing has come for a while."""
        return self.stage == "downloading" and time.monotonic() - self._moved_at > STALLED_S

    @property
    def share(self) -> float | None:
        """0 to 1; None while the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def bytes_per_s(self) -> float | None:
        """The average of the last seconds."""
        if len(self._seen) < 2:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end - start >= SETTLED_S else None

    @property
    def seconds_left(self) -> float | None:
        """Of this stage."""
        speed = self.bytes_per_s
        return (self.total - self.done) / speed if speed and self.total else None
