"""The load options as a form: each choice in one row, and below it the one sentence that says what it means here.

Invariant: it shows one LoadOptions and tells of each change; nothing is kept or loaded here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import get_args

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QWidget

from app.services.fitting import Subject
from app.ui.load.length import LengthField
from app.ui.tokens import Space
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.toggle import Segmented
from core import figures
from core.load_options import DEFAULT, AttentionChoice, DeviceChoice, EngineChoice, KVChoice, LoadOptions, WeightChoice
from core.models.footprint import int8_begins
from core.profiling.form_speeds import PLAIN, FormSpeeds
from core.translation import say

VALUES: dict[str, tuple[str, ...]] = {
    "weights": get_args(WeightChoice),
    "kv_cache": get_args(KVChoice),
    "attention": get_args(AttentionChoice),
    "device": get_args(DeviceChoice),
    "engine": get_args(EngineChoice),
}


class Choice(QWidget):
    """One of a few, with the sentence of the chosen one below.

    Signals:
        chosen: the value
    """

    chosen = Signal(str)

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field, self._values = field, VALUES[field]
        words = [say(f"load.{field}_{value}") for value in self._values]
        self.control = Segmented(say(f"load.{field}"), words)
        self._meaning: QLabel = label("", "caption", "muted", wrap=True)
        head = row(label(say(f"load.{field}"), "strong"), None, self.control)
        self.setLayout(column(head, self._meaning, gap=Space.XXS))
        self.control.chosen.connect(lambda index: self.chosen.emit(self._values[index]))

    def show_value(self, value: str, meaning: str) -> None:
        """Without telling of a change."""
        quiet = self.control.blockSignals(True)
        self.control.choose(self._values.index(value))
        self.control.blockSignals(quiet)
        self._meaning.setText(meaning)
        self.control.setToolTip(meaning)


class Choices(QWidget):
    """
    Signals:
        changed: LoadOptions
    """

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.options = DEFAULT
        self._subject: Subject | None = None
        self._has_card = False
        self._speeds: FormSpeeds | None = None
        self.rows: dict[str, Choice] = {}
        self.length: LengthField | None = None
        self._length_meaning: QLabel = label("", "caption", "muted", wrap=True)
        self._lines = column(gap=Space.M)
        self.setLayout(self._lines)

    def build(self) -> Iterator[None]:
        """In pieces, so that no frame waits for all of them."""
        for field in VALUES:
            choice = self.rows[field] = Choice(field)
            choice.chosen.connect(lambda value, field=field: self._take(field, value))
            self._lines.addWidget(choice)
            if field == "engine":  # only models from GGUF files have a choice
                choice.hide()
            yield
        self.length = LengthField()
        self.length.changed.connect(lambda length: self._take("context_length", length))
        self._lines.addLayout(column(self.length, self._length_meaning, gap=Space.XXS))
        self._lines.addStretch(1)
        yield

    def show_options(
        self, subject: Subject, options: LoadOptions, *, has_card: bool = False, speeds: FormSpeeds | None = None
    ) -> None:
        """What can be chosen for `subject` on this machine, and what is. speeds: of this processor, where measured."""
        self._subject, self.options, self._has_card, self._speeds = subject, options, has_card, speeds
        self.rows["engine"].setVisible(subject.has_gguf)
        assert self.length is not None
        lengths = subject.lengths
        self.length.show_range(subject.own, lengths.trained, subject.longest, options.context_length)
        self._explain()

    def put(self, options: LoadOptions) -> None:
        """Other options for the same model; told as a change."""
        self.options = options
        if self.length is not None:
            self.length.show_length(options.context_length)
        self._explain()
        self.changed.emit(options)

    def _take(self, field: str, value: object) -> None:
        self.options = msgspec.structs.replace(self.options, **{field: value})
        self._explain()
        self.changed.emit(self.options)

    def _explain(self) -> None:
        if self._subject is None:
            return
        for field, choice in self.rows.items():
            value: str = getattr(self.options, field)
            if field == "device" and value in ("auto", "spread") and not self._has_card:
                choice.show_value(value, say(f"load.device_{value}_no_card"))
            else:
                meaning = _meaning(self._subject, self.options, field, value)
                on_processor = not self._has_card or self.options.device == "cpu"
                if field == "weights" and self._speeds and on_processor and self._subject.shape.quantised is None:
                    meaning = say("load.two_sentences", first=meaning, second=speed_words(self._speeds, value))
                choice.show_value(value, meaning.strip())
        self._length_meaning.setText(_length_meaning(self._subject, self.options))


def _meaning(subject: Subject, options: LoadOptions, field: str, value: str) -> str:
    """The one sentence; where this machine or model makes a difference, that one."""
    quantised = subject.shape.quantised
    if field == "weights" and value == "auto":
        if quantised is not None:
            return say("load.weights_auto_quantised", bits=quantised.bits, method=quantised.method.upper())
        return say("load.weights_auto_means", precision=figures.precision(subject.shape.stored))
    if field == "weights" and quantised is not None:
        return say("load.weights_stay_quantised", bits=quantised.bits, method=quantised.method.upper())
    if field == "weights" and value == "int4" and subject.shape.had_4_bits:
        return say("load.weights_int4_again")
    if field == "engine" and value == "llama_cpp" and find_spec("llama_cpp") is None:
        return say("load.engine_llama_cpp_missing")
    if field == "attention" and value == "flash":
        if find_spec("flash_attn") is None:
            return say("load.attention_flash_missing")
        if options.kv_cache in ("int8", "int8_compatible"):
            return say("load.attention_flash_int8")
    if field == "kv_cache" and value == "int8":
        return say("load.kv_cache_int8_means", tokens=figures.count(int8_begins(subject.shape, options)))
    return say(f"load.{field}_{value}_means")


def speed_words(speeds: FormSpeeds, value: str) -> str:
    """What was measured of this choice of weights: how much faster it answers, or what would be."""
    day = f"{speeds.measured_at.astimezone():%Y-%m-%d}"
    if value in speeds.seconds and value != PLAIN:
        return say("load.form_gain", times=f"{speeds.gain(value):.1f}", day=day)
    if value in ("auto", PLAIN) and speeds.best != PLAIN:
        form, times = figures.precision(speeds.best), f"{speeds.gain(speeds.best):.1f}"
        return say("load.form_better", form=form, times=times, day=day)
    return ""


def _length_meaning(subject: Subject, options: LoadOptions) -> str:
    asked, trained = options.context_length or subject.own, subject.lengths.trained
    if trained and asked > trained:
        by = subject.lengths.by or "other"
        return say(f"load.context_beyond_{by}", trained=figures.count(trained))
    return say("load.context_means")


def sentences(fields: Sequence[str] = tuple(VALUES)) -> list[str]:
    """The keys of all explanations, for the test that holds them to the catalogue."""
    return [f"load.{field}_{value}_means" for field in fields for value in VALUES[field]]
