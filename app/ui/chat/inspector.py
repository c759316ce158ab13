"""The pane beside the transcript: system prompt, sampling with presets, the figures of the last reply.

Invariant: it shows the values of one conversation and tells of changes; it saves nothing itself.
"""

from __future__ import annotations

import msgspec
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QLabel, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from app.ui.chat.context_view import ContextView
from app.ui.chat.presets import CUSTOM, PRESETS, preset_of, with_preset
from app.ui.tokens import Size, Space
from app.ui.widgets.button import Select
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from app.ui.widgets.slider import SliderField
from core import figures
from core.chat.turns import ReplyFigures, Sampling
from core.store.records import Conversation, Message
from core.translation import say

SETTLE_MS = 400
PROMPT_HEIGHT = 96
FIGURES = ("prompt", "reply", "first_token", "speed", "ended_by")


class Inspector(QWidget):
    """
    Signals:
        configured: system prompt and Sampling as they are now, a moment after the last change
    """

    configured = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self._sampling = Sampling()
        self._showing = False
        self.setProperty("ground", "sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(Size.INSPECTOR)
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._tell)
        self.prompt = QPlainTextEdit()
        self.prompt.setProperty("field", True)
        self.prompt.setAccessibleName(say("chat.system_prompt"))
        self.prompt.setPlaceholderText(say("chat.system_prompt_hint"))
        self.prompt.setTabChangesFocus(True)
        self.prompt.textChanged.connect(self._touched)
        self._prompt_remark = label("", "caption", "warn", wrap=True)
        self._prompt_remark.hide()
        self.context = ContextView()
        names = [say(f"chat.preset_{name}") for name in (*PRESETS, CUSTOM)]
        self.preset = Select(say("chat.preset"), names, names[1])
        self.preset.chosen.connect(self._take_preset)
        self._fields = self._sliders()
        self.seed = QLineEdit()
        self.seed.setAccessibleName(say("chat.seed"))
        self.seed.setPlaceholderText(say("chat.seed_random"))
        self.seed.setFixedWidth(120)
        self.seed.textEdited.connect(self._touched)
        self.stop = QLineEdit()
        self.stop.setAccessibleName(say("chat.stop_words"))
        self.stop.setPlaceholderText(say("chat.stop_words_hint"))
        self.stop.textEdited.connect(self._touched)
        self._figures: dict[str, QLabel] = {name: label("–", "caption") for name in FIGURES}
        self._scroll = Scroll(pane(self._lines()), say("chat.inspector"))
        self.setLayout(column(self._scroll, gap=0))

    def _sliders(self) -> dict[str, SliderField]:
        table = (("temperature", 0, 2, 0.05), ("top_p", 0.05, 1, 0.05), ("top_k", 0, 100, 1),
                 ("repetition_penalty", 1, 2, 0.05), ("max_new_tokens", 64, 8192, 64))  # fmt: skip
        result = {}
        for name, low, high, step in table:
            start = float(getattr(self._sampling, name))
            field = SliderField(say(f"chat.{name}"), start, low, high, step, say(f"chat.{name}_hint"))
            field.changed.connect(self._touched)
            result[name] = field
        return result

    def _lines(self) -> QVBoxLayout:
        lines = column(
            label(say("chat.system_prompt"), "strong"),
            _fixed(self.prompt, PROMPT_HEIGHT),
            self._prompt_remark,
            Space.M,
            Line(),
            Space.M,
            row(label(say("chat.sampling"), "strong"), None, self.preset),
            Space.XS,
            *self._fields.values(),
            row(label(say("chat.seed")), None, self.seed),
            label(say("chat.stop_words")),
            self.stop,
            Space.M,
            Line(),
            Space.M,
            self.context,
            Space.M,
            Line(),
            Space.M,
            label(say("chat.this_reply"), "strong"),
            *(pane(row(label(say(f"chat.{name}"), "caption", "muted"), None, value))
              for name, value in self._figures.items()),
            None,
        )  # fmt: skip
        lines.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        return lines

    def show_conversation(self, conversation: Conversation) -> None:
        """Its values, without telling of a change; what was still to be told is told first."""
        self.flush()
        self._showing = True
        if self.prompt.toPlainText() != conversation.system_prompt:
            self.prompt.setPlainText(conversation.system_prompt)
        self._show_sampling(conversation.sampling)
        self._showing = False

    def _show_sampling(self, sampling: Sampling) -> None:
        self._sampling = sampling
        for name, field in self._fields.items():
            field.spin.setValue(getattr(sampling, name))
        self.seed.setText("" if sampling.seed is None else str(sampling.seed))
        self.stop.setText(" | ".join(sampling.stop))
        self.preset.show_value(say(f"chat.preset_{preset_of(sampling)}"))

    def show_prompt_remark(self, words: str) -> None:
        """What is to be known of system prompts with this model; "" hides it."""
        self._prompt_remark.setText(words)
        self._prompt_remark.setVisible(bool(words))

    def reveal(self, place: str) -> None:
        """Scroll to a part of the pane: "context", or its head."""
        self._scroll.ensureWidgetVisible(self.context if place == "context" else self.prompt)
        if place != "context":
            self.prompt.setFocus()

    def show_reply(self, message: Message | None) -> None:
        """The figures of a reply, dashes where there is none."""
        known = message.figures if message else None
        values = dict.fromkeys(FIGURES, "–")
        if message and known:
            values = {
                "prompt": figures.count(known.prompt_tokens) if known.prompt_tokens else "–",
                "reply": _count_words(known),
                "first_token": figures.duration(known.first_token_s),
                "speed": say("chat.tokens_per_s", speed=f"{known.tokens_per_s:.1f}") if known.tokens_per_s else "–",
                "ended_by": say(f"chat.ended_{message.state}"),
            }
        for name, value in values.items():
            self._figures[name].setText(value)

    def flush(self) -> None:
        """Tell now what would be told in a moment."""
        if self._settle.isActive():
            self._settle.stop()
            self._tell()

    def _take_preset(self, words: str) -> None:
        chosen = next((name for name in PRESETS if say(f"chat.preset_{name}") == words), "")
        if chosen:
            self._showing = True
            self._show_sampling(with_preset(self._read(), chosen))
            self._showing = False
            self._touched()

    def _touched(self, *_: object) -> None:
        if not self._showing:
            self.preset.show_value(say(f"chat.preset_{preset_of(self._read())}"))
            self._settle.start()

    def _read(self) -> Sampling:
        seed = self.seed.text().strip()
        stops = tuple(part.strip() for part in self.stop.text().split("|") if part.strip())
        values = {name: field.spin.value() for name, field in self._fields.items()}
        whole = {"top_k", "max_new_tokens"}
        return msgspec.structs.replace(
            self._sampling,
            **{name: round(value) if name in whole else round(value, 2) for name, value in values.items()},
            seed=int(seed) if seed.isdigit() else None,
            stop=stops,
        )

    def _tell(self) -> None:
        self._sampling = self._read()
        self.configured.emit(self.prompt.toPlainText().strip(), self._sampling)


def _count_words(known: ReplyFigures) -> str:
    count = figures.count(known.new_tokens)
    return say("remote.about", count=count) if known.is_about else count


def _fixed(widget: QWidget, height: int) -> QWidget:
    """Of this height whatever the style sheet says of its least one."""
    result = pane(column(widget, gap=0))
    result.setFixedHeight(height)
    return result
