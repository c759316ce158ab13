"""The pane beside the tokens: what was counted, and all there is to know of the token in view."""

from __future__ import annotations

import asyncio

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLabel, QWidget

from app.ui import theme
from app.ui.tokenizer.flow import is_part, shown
from app.ui.tokenizer.token_view import bytes_words
from app.ui.tokens import Size, Space, Type
from app.ui.widgets.button import Button
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from core import figures
from core.protocol.messages import Token, Tokenized
from core.translation import say

SLICE = 8192  # tokens that are looked at in one go
COUNTS = ("count", "characters", "bytes", "bytes_per_token", "control", "parts", "entries", "rows")
TOKEN = ("place", "number", "text", "data", "kind")


class TokenFacts(QWidget):
    """
    Signals:
        explain_asked: which of the questions of the help page
    """

    explain_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("ground", "sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(Size.INSPECTOR)
        self.values: dict[str, QLabel] = {}
        why = Button(say("tokenizer.why_rows"), "ghost", "info", small=True)
        why.clicked.connect(lambda: self.explain_asked.emit("vocabulary_rows"))
        ids = Button(say("tokenizer.why_ids"), "ghost", "info", small=True)
        ids.clicked.connect(lambda: self.explain_asked.emit("unset_ids"))
        self._question = ""
        self.explain = Button(say("tokenizer.why_kind"), "ghost", "info", small=True)
        self.explain.clicked.connect(lambda: self.explain_asked.emit(self._question))
        lines = column(
            label(say("tokenizer.counts"), "strong"),
            *(self._line(name) for name in COUNTS),
            column(row(why, None), row(ids, None), gap=0),
            Space.S,
            Line(),
            Space.S,
            label(say("tokenizer.this_token"), "strong"),
            *(self._line(name) for name in TOKEN),
            row(self.explain, None),
            None,
        )
        lines.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        self.setLayout(column(Scroll(pane(lines), say("tokenizer.counts")), gap=0))
        self.show_token(None)

    def _line(self, name: str) -> QWidget:
        value = self.values[name] = label("–", "caption", wrap=name in ("text", "data"))
        value.setFont(theme.font(Type.CODE if name == "data" else Type.CAPTION, code=name == "data", tabular=True))
        value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        title = label(say(f"tokenizer.{name}"), "caption", "muted")
        line = row(title, value, gap=Space.M)
        line.setStretch(1, 1)
        return pane(line)

    async def show_counts(self, text: str, found: Tokenized) -> None:
        """Of a whole text. The pass over its tokens is done in slices."""
        tokens, control, parts = len(found.tokens), 0, 0
        for start in range(0, tokens, SLICE):
            piece = found.tokens[start : start + SLICE]
            control += sum(token.is_control for token in piece)
            parts += sum("\ufffd" in token.text and is_part(token) for token in piece)
            await asyncio.sleep(0)
        size = len(text.encode())
        numbers = {
            "count": figures.count(tokens),
            "characters": figures.count(len(text)),
            "bytes": figures.count(size),
            "bytes_per_token": f"{size / tokens:.2f}" if tokens else "–",
            "control": figures.count(control),
            "parts": figures.count(parts),
            "entries": figures.count(found.entries) if found.entries else "–",
            "rows": figures.count(found.rows) if found.rows else "–",
        }
        for name, words in numbers.items():
            self.values[name].setText(words)

    def show_nothing(self) -> None:
        """There is no answer."""
        for name in COUNTS:
            self.values[name].setText("–")
        self.show_token(None)

    def show_token(self, token: Token | None, place: str = "") -> None:
        """`place`: "3 of 12"."""
        words = dict.fromkeys(TOKEN, "–")
        if token is not None:
            kind = "control" if token.is_control else "part" if is_part(token) else "plain"
            words = {
                "place": place,
                "number": str(token.id),
                "text": "–" if is_part(token) else say("tokenizer.quoted", text=shown(token)),
                "data": bytes_words(token) or "–",
                "kind": say(f"tokenizer.kind_{kind}"),
            }
        for name, value in words.items():
            self.values[name].setText(value)
        self._question = _question(token)
        self.explain.setVisible(bool(self._question))


def _question(token: Token | None) -> str:
    """What one may ask about such a token."""
    if token is None:
        return ""
    if token.is_control:
        return "control_tokens"
    return "broken_characters" if is_part(token) else "digits" if token.text.strip().isdigit() else ""
