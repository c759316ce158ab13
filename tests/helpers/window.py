"""Real widgets in an offscreen window, and turning the event loop until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication, QWidget

from app.ui import theme

Shown = TypeVar("Shown", bound=QWidget)


def application() -> QApplication:
    """The one application, in the light theme and at the usual text size."""
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    app.setQuitOnLastWindowClosed(False)
    theme.state.text_scale = 1.0
    theme.state.reduced_motion = False
    theme.apply(app, "light")
    return app


def until(holds: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Turn the event loop until `holds`, or fail naming `what`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        QCoreApplication.processEvents()
        time.sleep(0.001)


def turn(times: int = 5) -> None:
    """A few turns of the event loop: layout requests climb one level in each."""
    for _ in range(times):
        QCoreApplication.processEvents()


@contextmanager
def shown(widget: Shown, width: int = 900, height: int = 700) -> Iterator[Shown]:
    """`widget` in a window of its own; gone with all its children afterwards."""
    widget.resize(width, height)
    widget.show()
    turn()
    try:
        yield widget
    finally:
        widget.close()
        widget.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        turn(1)
