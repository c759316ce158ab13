"""Turns tokens into what Qt understands: palette, style sheet, fonts; and tells widgets when they change."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from app.ui.stylesheet import build
from app.ui.tokens import CODE_FAMILIES, DARK, LIGHT, UI_FAMILIES, Colors, TextStyle, Type
from core.paths import resources

Mode = Literal["system", "light", "dark"]
FONT_DIR = resources() / "fonts"


class _State(QObject):
    changed = Signal()
    colors: Colors = LIGHT
    mode: Mode = "light"
    reduced_motion: bool = False
    text_scale: float = 1.0


state = _State()


def colors() -> Colors:
    """The colour roles in force."""
    return state.colors


def is_dark() -> bool:
    return state.colors is DARK


@lru_cache(maxsize=256)
def color(value: str) -> QColor:
    """A QColor for a token value; parsed once."""
    return QColor(value)


def with_alpha(value: str, alpha: float) -> QColor:
    result = QColor(value)
    result.setAlphaF(alpha)
    return result


def duration(milliseconds: int) -> int:
    """A motion token, or 0 when motion is reduced."""
    return 0 if state.reduced_motion else milliseconds


def font(style: TextStyle = Type.BODY, *, code: bool = False, tabular: bool = False, literal: bool = False) -> QFont:
    """A font of the type scale. `tabular` keeps digits in columns; `literal` (and code) shows every character as
    typed: no ligature may turn `<|` or `->` into a sign."""
    result = QFont()
    result.setFamilies(list(CODE_FAMILIES if code else UI_FAMILIES))
    result.setPixelSize(max(11, round(style.size * state.text_scale)))
    result.setWeight(QFont.Weight(style.weight))
    result.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    if tabular and not code:
        result.setFeature(QFont.Tag("tnum"), 1)
    if code or literal:
        result.setFeature(QFont.Tag("calt"), 0)
        result.setFeature(QFont.Tag("liga"), 0)
    return result


def apply(app: QApplication, mode: Mode = "system", scale: float = 1.0) -> None:
    """Put the theme in force while running. What is in force already costs nothing: a new style sheet touches every
    widget of the program."""
    state.mode = mode
    dark = mode == "dark"
    if mode == "system":
        dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
    wanted = DARK if dark else LIGHT
    first = app.property("workbench_fonts") is None
    if first:
        _load_fonts()
        app.setStyle("Fusion")
        app.setProperty("workbench_fonts", True)
    if not first and (wanted, scale) == (state.colors, state.text_scale):
        return
    if first or scale != state.text_scale:
        state.text_scale = scale
        app.setFont(font())
    state.colors = wanted
    app.setPalette(palette(wanted))
    app.setStyleSheet(build(wanted, scale))
    state.changed.emit()


def on_change(widget: QWidget, slot: object) -> None:
    """Call `slot` (a bound method of `widget`) after every change of theme."""
    state.changed.connect(slot)


def palette(c: Colors) -> QPalette:
    """The QPalette, so that unstyled Qt widgets and dialogs agree with ours."""
    role = QPalette.ColorRole
    table = {
        role.Window: c.surface,
        role.WindowText: c.text,
        role.Base: c.raised,
        role.AlternateBase: c.sunken,
        role.Text: c.text,
        role.PlaceholderText: c.text_muted,
        role.Button: c.raised,
        role.ButtonText: c.text,
        role.BrightText: c.bad,
        role.ToolTipBase: c.raised,
        role.ToolTipText: c.text,
        role.Highlight: c.accent,
        role.HighlightedText: c.on_accent,
        role.Accent: c.accent,
        role.Link: c.accent_text,
        role.LinkVisited: c.accent_text,
        role.Mid: c.border,
        role.Dark: c.border_strong,
        role.Shadow: c.shadow,
        role.Light: c.raised,
    }
    result = QPalette()
    for key, value in table.items():
        result.setColor(key, color(value))
    for key in (role.WindowText, role.Text, role.ButtonText):
        result.setColor(QPalette.ColorGroup.Disabled, key, color(c.text_disabled))
    return result


def _load_fonts() -> None:
    for file in sorted(FONT_DIR.glob("*.[ot]tf")):
        QFontDatabase.addApplicationFont(str(file))
