"""The kit's widgets as the pages use them: words in both languages, theme while running."""

from __future__ import annotations

from string import Formatter

import pytest
from PySide6.QtWidgets import QCompleter

from app.ui import icons, theme
from app.ui.chat.context_view import ContextUse, ContextView
from app.ui.tokens import DARK, LIGHT
from app.ui.widgets.button import Button, Chip, IconButton
from app.ui.widgets.feedback import Banner, EmptyState
from app.ui.widgets.fields import SearchField
from app.ui.widgets.layout import column, pane
from app.ui.widgets.slider import SliderField
from app.ui.widgets.toggle import Segmented, Switch
from core.translation import catalogue
from tests.helpers.audit import faults
from tests.helpers.window import application, shown, turn


@pytest.mark.parametrize("area", ["kit", "transcript"])
def test_both_languages_say_the_same_with_the_same_parameters(area: str) -> None:
    def sentences(language: str) -> dict[str, set[str]]:
        chosen = {key: words for key, words in catalogue(language).items() if key.startswith(f"{area}.")}  # type: ignore[arg-type]
        return {key: {name for _, name, _, _ in Formatter().parse(words) if name} for key, words in chosen.items()}

    assert sentences("en") == sentences("zh")
    assert sentences("en")


def test_every_icon_can_be_drawn() -> None:
    application()
    assert all(not icons.pixmap(name, 16, "#000000").isNull() for name in icons.names())


def test_the_kit_has_names_and_room_in_both_themes_and_three_sizes() -> None:
    app = application()
    widgets = (
        Button("Load as Int4", "primary", "download"),
        Chip("Qwen3-8B · Int4", "models", opens=True),
        IconButton("copy", "Copy"),
        SearchField("Search conversations", "Ctrl+K"),
        SliderField("Temperature", 0.7, 0, 2, 0.05),
        Segmented("Theme", ["System", "Light", "Dark"]),
        Switch("Less motion"),
        Banner("warn", "The disk is nearly full.", "3.1 GB are needed, 1.0 GB is free."),
        EmptyState("chat", "No model yet", "Download the starter model, 98 MB.", Button("Download")),
    )
    page = pane(column(*widgets), "surface")
    with shown(page, 700, 900):
        for mode in ("light", "dark"):
            for scale in (0.9, 1.0, 1.3):
                theme.apply(app, mode, scale)  # type: ignore[arg-type]
                turn()
                assert faults(page) == [], (mode, scale)
        light_again = page.grab().toImage()
        theme.apply(app, "light")
        turn()
        assert page.grab().toImage() != light_again


def test_what_completes_a_field_can_be_read() -> None:
    """Qt's own list: of file dialogs, which no page of ours paints."""
    app = application()
    for mode, colours in (("light", LIGHT), ("dark", DARK)):
        theme.apply(app, mode)  # type: ignore[arg-type]
        completer = QCompleter(["notes.txt"])
        popup = completer.popup()
        popup.resize(200, 100)
        assert popup.grab().toImage().pixelColor(150, 80).name() == colours.raised.lower()
    theme.apply(app, "light")


def test_a_context_that_was_not_counted_is_not_said_to_be_empty() -> None:
    application()
    view = ContextView()
    view.show_use(ContextUse(0, 4096, is_known=False))
    assert view._values["used"].text() == "–"
    view.show_use(ContextUse(0, 4096))
    assert view._values["used"].text() == "0"
