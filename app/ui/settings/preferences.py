"""The preferences: rows of a name, a sentence and a control. In force at once; there is no Apply button."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PySide6.QtWidgets import QFileDialog, QLabel, QLineEdit, QVBoxLayout, QWidget

from app.services.hub_access import endpoint
from app.services.secrets import Place
from app.ui import aio
from app.ui.settings.token_dialog import TokenDialog
from app.ui.tokens import Space
from app.ui.widgets.button import Button, Select
from app.ui.widgets.fields import setting
from app.ui.widgets.layout import Card, column, label, pane
from app.ui.widgets.page import form, section
from app.ui.widgets.toggle import Segmented, Switch
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

THEMES = ("system", "light", "dark")
LANGUAGES = ("system", "en", "zh")
TEXT_SIZES = ("small", "normal", "large", "larger")
KEEP_MINUTES = (5, 30, 120, 0)
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


class PreferencesView(QWidget):
    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self._window, self._context = window, context
        self._preferences = context.preferences
        self.setLayout(column(form(self._look(), self._work(), self._network()), gap=0))

    def _look(self) -> QWidget:
        chosen = self._preferences.settings
        theme = self._one_of("theme", THEMES, chosen.theme, ["", "sun", "moon"])
        language = self._one_of("language", LANGUAGES, chosen.language)
        size = self._one_of("text_size", TEXT_SIZES, chosen.text_size)
        motion = Switch(say("settings.less_motion"), chosen.less_motion)
        motion.toggled.connect(lambda on: self._preferences.change(less_motion=on))
        return _group("appearance", _row("theme", theme), _row("language", language), _row("text_size", size),
                      _row("less_motion", motion, last=True))  # fmt: skip

    def _work(self) -> QWidget:
        change = Button(say("settings.change"), "secondary", "folder")
        change.clicked.connect(lambda: aio.spawn(self._choose_folder(), "models folder"))
        folder = setting(say("settings.models_folder"), self._folder_words(), change)
        words = [say(f"settings.keep_{minutes}") for minutes in KEEP_MINUTES]
        now = self._preferences.settings.keep_loaded_minutes
        place = KEEP_MINUTES.index(now) if now in KEEP_MINUTES else 1
        keep = Select(say("settings.keep_loaded"), words, words[place])
        keep.chosen.connect(lambda word: self._preferences.change(keep_loaded_minutes=KEEP_MINUTES[words.index(word)]))
        return _group("work", folder, _row("keep_loaded", keep, last=True))

    def _network(self) -> QWidget:
        rows = [
            self._address("huggingface_endpoint", endpoint("huggingface") or "https://huggingface.co"),
            self._address("modelscope_endpoint", endpoint("modelscope") or "https://modelscope.cn"),
            self._address("proxy", "http://127.0.0.1:7890", PROXY_SCHEMES),
        ]
        tokens = [self._token("huggingface"), self._token("modelscope", last=True)]
        return _group("network", *rows, *tokens)

    def _one_of(self, field: str, values: tuple[str, ...], now: str, marks: list[str] | None = None) -> Segmented:
        words = [say(f"settings.{field}_{value}") for value in values]
        result = Segmented(say(f"settings.{field}"), words, values.index(now), marks or [])
        result.chosen.connect(lambda index: self._preferences.change(**{field: values[index]}))
        return result

    def _address(self, field: str, example: str, schemes: tuple[str, ...] = ("http", "https")) -> QWidget:
        """example: what counts while the field is empty."""
        edit = QLineEdit(getattr(self._preferences.settings, field))
        edit.setPlaceholderText(example)
        edit.setAccessibleName(say(f"settings.{field}"))
        edit.setFixedWidth(280)
        wrong = label("", "caption", "bad", wrap=True)
        wrong.hide()
        edit.editingFinished.connect(lambda: self._take_address(field, edit, wrong, schemes))
        control = pane(column(edit, wrong, gap=Space.XXS))
        return _row(field, control)

    def _take_address(self, field: str, edit: QLineEdit, wrong: QLabel, schemes: tuple[str, ...]) -> None:
        """Checked on leaving the field; a wrong one is kept on screen and not taken."""
        address = edit.text().strip().rstrip("/")
        good = not address or _is_address(address, schemes)
        edit.setProperty("invalid", not good)
        edit.style().polish(edit)
        wrong.setText(say("settings.not_an_address"))
        wrong.setVisible(not good)
        if good:
            self._preferences.change(**{field: address})

    def _token(self, place: Place, *, last: bool = False) -> QWidget:
        change = Button(say("settings.token_change"), "secondary", "key")
        change.clicked.connect(lambda: aio.spawn(self._ask_token(place), "token"))
        return _row(f"{place}_token", change, last=last)

    async def _ask_token(self, place: Place) -> None:
        dialog = TokenDialog(self._window, place, self._context.secrets.has_keyring)
        if await aio.ask(dialog) != TokenDialog.DialogCode.Accepted:
            return
        kept = self._context.secrets.set(place, dialog.token)
        code = "token_forgotten" if not dialog.token else "token_kept" if kept else "token_in_memory"
        self._window.notify("ok", say(f"settings.{code}"))

    async def _choose_folder(self) -> None:
        dialog = QFileDialog(self._window, say("settings.models_folder"), str(self._preferences.models_folder))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        if await aio.ask(dialog) != QFileDialog.DialogCode.Accepted:
            return
        folder = Path(dialog.selectedFiles()[0])
        self._preferences.change(models_folder=str(folder))
        self._context.library.move_to(folder)
        self._window.notify("ok", say("settings.folder_changed"))
        self._window.rebuild()

    def _folder_words(self) -> str:
        return str(self._preferences.models_folder)


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _row(field: str, control: QWidget, *, last: bool = False) -> QWidget:
    return setting(say(f"settings.{field}"), say(f"settings.{field}_means"), control, last=last)


def _group(name: str, *rows: QWidget) -> QWidget:
    lines: QVBoxLayout = column(*rows, gap=0)
    return section(say(f"settings.{name}"), "", Card(lines, padding=0))
