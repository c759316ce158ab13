"""Formulas as pictures: LaTeX to SVG by ziamath, to an image by Qt, in a thread, kept in a cache.

Invariant: nobody waits. `ask()` answers at once with the picture or with nothing, and `ready` tells when asking
again is worth it. A formula ziamath cannot read is remembered as broken and stays nothing, so its source is shown.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from typing import Any, NamedTuple

from PySide6.QtCore import QByteArray, QObject, QRectF, Signal
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

from app.ui.transcript.warm import patience

log = logging.getLogger("formulas")

KEPT = 500
"""Pictures kept; one of usual size takes 10 to 40 kB."""
_REST_S = 0.004


class Wanted(NamedTuple):
    """One formula as it has to look. `size` in px of the text around it, `ratio` device pixels a px."""

    source: str
    display: bool
    size: int
    tint: str
    ratio: float


class Picture(NamedTuple):
    """The image, its size in px and how far its baseline lies below its top."""

    image: QImage
    width: float
    height: float
    baseline: float


class _Formulas(QObject):
    """Signals:

    ready: some formulas that were asked for have been drawn, or found broken.
    """

    ready = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._done: OrderedDict[Wanted, Picture | None] = OrderedDict()
        self._queue: deque[Wanted] = deque()
        self._thread: threading.Thread | None = None

    def ask(self, wanted: Wanted) -> tuple[Picture | None, bool]:
        """The picture if it has been drawn, and whether it is still to come; (None, False): it is broken."""
        with self._lock:
            if wanted in self._done:
                self._done.move_to_end(wanted)
                return self._done[wanted], False
            if wanted not in self._queue:
                self._queue.append(wanted)
            if self._thread is None:
                self._thread = threading.Thread(target=self._draw_all, name="formulas", daemon=True)
                self._thread.start()
        return None, True

    def is_pending(self, wanted: Wanted) -> bool:
        with self._lock:
            return wanted not in self._done

    def wait(self, seconds: float) -> bool:
        """Until the queue is empty; for tests and printing. False when it took longer."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None

    def _draw_all(self) -> None:
        """The thread ends with the queue: none lives while there is nothing to draw."""
        try:
            with patience():
                _ziamath()
                while self._draw_one():
                    time.sleep(_REST_S)  # the window's thread gets its turn between two formulas
        except BaseException:
            with self._lock:  # an error of ours, on its way up: nothing waits for this thread any more
                self._thread = None
                self._done |= dict.fromkeys(self._queue)
                self._queue.clear()
            raise

    def _draw_one(self) -> bool:
        """False, and the thread is given up, when there was nothing to draw."""
        with self._lock:
            if not self._queue:
                self._thread = None
                return False
            wanted = self._queue[0]
        made = _made(wanted)
        with self._lock:
            self._queue.popleft()
            self._done[wanted] = made
            while len(self._done) > KEPT:
                self._done.popitem(last=False)
        self.ready.emit()
        return True


def _made(wanted: Wanted) -> Picture | None:
    try:
        return _drawn(wanted)
    except Exception as error:  # ziamath raises what its parser happens to: any of it means "cannot be read"
        log.info("formula not drawn (%s: %s): %.80s", type(error).__name__, error, wanted.source)
        return None


def _drawn(wanted: Wanted) -> Picture:
    ziamath = _ziamath()
    drawing = ziamath.Latex(wanted.source, size=wanted.size, color=wanted.tint, inline=not wanted.display)
    svg = drawing.svg()
    renderer = QSvgRenderer(QByteArray(svg.encode()))
    box = renderer.viewBoxF()
    if not renderer.isValid() or box.isEmpty():
        raise ValueError("empty drawing")
    image = QImage(
        math.ceil(box.width() * wanted.ratio),
        math.ceil(box.height() * wanted.ratio),
        QImage.Format.Format_ARGB32_Premultiplied,
    )
    image.fill(0)
    painter = QPainter(image)
    renderer.render(painter, QRectF(0, 0, box.width() * wanted.ratio, box.height() * wanted.ratio))
    painter.end()
    image.setDevicePixelRatio(wanted.ratio)
    return Picture(image, image.width() / wanted.ratio, image.height() / wanted.ratio, -box.top())


def _ziamath() -> Any:
    """The drawing library; its import takes 0.2 s."""
    import ziamath

    module: Any = ziamath
    module.config.svg2 = False  # Qt draws SVG 1.2 Tiny: no <symbol>
    return module


def warm_up() -> None:
    """Load the library and its font, in whatever thread calls."""
    _made(Wanted("x^2", False, 15, "#000000", 1.0))


formulas = _Formulas()
