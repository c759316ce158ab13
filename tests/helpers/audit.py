"""What is wrong with the visible widgets of a page: no name for assistive tools, clipped labels, squeezed buttons."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from app.ui.widgets.button import Button
from app.ui.widgets.layout import Elided


def faults(root: QWidget) -> list[str]:
    """One line for each fault below `root`; empty when all is well."""
    found: list[str] = []
    for widget in root.findChildren(QWidget):
        if widget.isVisible() and not widget.objectName().startswith("qt_"):
            found += _faults(widget)
    return found


def _faults(widget: QWidget) -> list[str]:
    found: list[str] = []
    if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and not widget.accessibleName():
        found.append(f"no name: {type(widget).__name__}")
    if isinstance(widget, QLabel) and not isinstance(widget, Elided) and widget.text():
        wraps = widget.wordWrap()
        needed = widget.heightForWidth(widget.width()) if wraps else widget.sizeHint().height()
        if widget.height() < needed:
            found.append(f"clipped in height: {widget.text()[:40]}")
        if not wraps and widget.width() < widget.sizeHint().width() - 1:
            found.append(f"clipped in width: {widget.text()[:40]}")
    if isinstance(widget, Button) and widget.width() < widget.sizeHint().width():
        found.append(f"squeezed: {widget.text()}")
    return found
