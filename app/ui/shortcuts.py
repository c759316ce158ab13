"""Every key of the program in one table, the binding of a key to a slot, and the sheet that lists them (Ctrl+/).

Invariant: no other module writes a key sequence for an action; a test holds every row of the table to a binding, and
every key to one action at a time: Qt calls the others ambiguous, and none of them works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QWidget

from app.ui import theme
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from core.translation import say


class Key(NamedTuple):
    """An action, its keys, and where it works: "window" everywhere, else a page."""

    action: str
    keys: str
    place: str


TABLE = (
    Key("page_chat", "Ctrl+1", "window"),
    Key("page_models", "Ctrl+2", "window"),
    Key("page_finetune", "Ctrl+3", "window"),
    Key("page_profiler", "Ctrl+4", "window"),
    Key("page_server", "Ctrl+5", "window"),
    Key("page_tokenizer", "Ctrl+6", "window"),
    Key("page_help", "Ctrl+7", "window"),
    Key("page_settings", "Ctrl+8", "window"),
    Key("help", "F1", "window"),
    Key("shortcuts", "Ctrl+/", "window"),
    Key("quit", "Ctrl+Q", "window"),
    Key("new_chat", "Ctrl+N", "chat"),
    Key("search", "Ctrl+K", "chat"),
    Key("list", "Ctrl+B", "chat"),
    Key("inspector", "Ctrl+I", "chat"),
    Key("next_chat", "Ctrl+PgDown", "chat"),
    Key("previous_chat", "Ctrl+PgUp", "chat"),
    Key("rename", "F2", "chat"),
    Key("pin", "Ctrl+Shift+P", "chat"),
    Key("delete", "Ctrl+Shift+Backspace", "chat"),
    Key("undo_delete", "Ctrl+Alt+Z", "chat"),
    Key("export", "Ctrl+S", "chat"),
    Key("import", "Ctrl+O", "chat"),
    Key("write", "Ctrl+L", "chat"),
    Key("send", "Ctrl+Return", "chat"),
    Key("stop", "Esc", "chat"),
    Key("model", "Ctrl+M", "chat"),
    Key("load", "Ctrl+Shift+L", "chat"),
    Key("think", "Ctrl+T", "chat"),
    Key("regenerate", "Ctrl+R", "chat"),
    Key("edit", "Ctrl+E", "chat"),
    Key("continue", "Ctrl+Shift+Return", "chat"),
    Key("copy", "Ctrl+Shift+C", "chat"),
    Key("branch", "Ctrl+Shift+B", "chat"),
    Key("previous_version", "Alt+Left", "chat"),
    Key("next_version", "Alt+Right", "chat"),
    Key("latest", "Ctrl+End", "chat"),
    Key("new_run", "Ctrl+N", "finetune"),
    Key("open_data", "Ctrl+O", "finetune"),
    Key("go_on", "Ctrl+Return", "finetune"),
    Key("go_back", "Alt+Left", "finetune"),
    Key("new_profile", "Ctrl+N", "profiler"),
    Key("start_profile", "Ctrl+Return", "profiler"),
    Key("all_profiles", "Ctrl+K", "profiler"),
    Key("export_profile", "Ctrl+S", "profiler"),
    Key("go_back", "Alt+Left", "profiler"),
    Key("turn_server", "Ctrl+Return", "server"),
    Key("copy_address", "Ctrl+Shift+C", "server"),
    Key("copy_snippet", "Ctrl+Alt+C", "server"),
    Key("copy_ids", "Ctrl+Shift+C", "tokenizer"),
    Key("control", "Ctrl+Shift+U", "tokenizer"),
    Key("find_help", "Ctrl+K", "help"),
    Key("load_options", "Ctrl+Shift+L", "models"),
    Key("find_model", "Ctrl+F", "models"),
    Key("details", "Ctrl+I", "models"),
    Key("pull", "Ctrl+D", "models"),
    Key("import_model", "Ctrl+O", "models"),
    Key("verify", "Ctrl+Shift+V", "models"),
    Key("chat_with", "Ctrl+Return", "models"),
    Key("remove", "Ctrl+Shift+Backspace", "models"),
    Key("undo_cancel", "Ctrl+Z", "models"),
)
_KEYS = {(key.place, key.action): key.keys for key in TABLE}
bound: set[tuple[str, str]] = set()


def keys(place: str, action: str) -> str:
    """The key of an action as this system writes it, for tooltips and hints."""
    return QKeySequence(_KEYS[place, action]).toString(QKeySequence.SequenceFormat.NativeText)


def bind(widget: QWidget, place: str, action: str, slot: Callable[[], object]) -> QShortcut:
    """Call `slot` on the key of an action; on a page the key works while the page is shown, wherever the focus is."""
    shortcut = QShortcut(QKeySequence(_KEYS[place, action]), widget)
    shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # Qt passes over those of pages that are not shown
    shortcut.activated.connect(lambda: slot())
    bound.add((place, action))
    return shortcut


class ShortcutSheet(QDialog):
    """All keys, by place. Closes with Esc or its button."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(say("shortcut.title"))
        self.setModal(True)
        halves = row(gap=Space.XXL)
        first, second = column(gap=Space.XS), column(gap=Space.XS)
        columns = (
            ("window", first),
            ("models", first),
            ("server", first),
            ("tokenizer", first),
            ("help", first),
            ("finetune", second),
            ("profiler", second),
            ("chat", second),
        )
        for place, target in columns:
            target.addWidget(label(say(f"shortcut.place_{place}"), "heading"))
            for key in TABLE:
                if key.place == place:
                    target.addWidget(_line(key))
            target.addSpacing(Space.L)
        for half in (first, second):
            half.addStretch(1)
            halves.addLayout(half)
        close = Button(say("kit.close"), "secondary")
        close.clicked.connect(self.accept)
        body = pane(halves)
        halves.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.S)
        foot = row(None, close)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(Scroll(body, say("shortcut.title")), Line(), foot, gap=0)
        whole.setStretch(0, 1)
        self.setLayout(whole)
        self.resize(780, 700)


def _line(key: Key) -> QWidget:
    words = label(keys(key.place, key.action), "caption", "muted")
    words.setFont(theme.font(tabular=True))
    return pane(row(label(say(f"shortcut.{key.action}")), None, words, gap=Space.XL))
