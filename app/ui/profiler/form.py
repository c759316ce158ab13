"""What shall be measured: kind of table, models, forms, lengths; each answer changes the wish at once.

Invariant: the wish holds what the form shows; what a table of the README fixes is not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, get_args

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLineEdit, QWidget

from app.services import profiling_wish
from app.services.profiling_wish import KINDS, Kind, Wish
from app.ui import theme
from app.ui.finetune.choice_card import ChoiceCard
from app.ui.profiler.words import weights_words
from app.ui.tokens import Space
from app.ui.widgets.button import Button, Chip
from app.ui.widgets.fields import setting
from app.ui.widgets.flow import Flow
from app.ui.widgets.layout import Card, Line, column, label, pane, row
from app.ui.widgets.menu import Menu
from app.ui.widgets.page import section
from app.ui.widgets.toggle import Segmented, Switch
from core.load_options import DeviceChoice, WeightChoice
from core.profiling import shapes
from core.profiling.plan import TrainingMethod
from core.translation import say

WEIGHTS: tuple[WeightChoice, ...] = ("bfloat16", "int8", "int4", "nf4", "float16", "float32")
KV = ("plain", "int8", "int8_compatible")
METHODS: tuple[TrainingMethod, ...] = get_args(TrainingMethod)
REPEATS = (0, 1, 3, 5)  # 0: what is usual
DEVICES: tuple[DeviceChoice, ...] = ("auto", "cpu")
NUMBERS = {"prompts": "cases", "news": "cases", "batches": "cases", "lengths": "training", "rows": "training"}


class NumbersField(QWidget):
    """One or several whole numbers, with commas. Checked on leaving it, and whenever it is asked.

    Signals:
        changed: a tuple of them
        checked: whether it is wrong may be another
    """

    changed = Signal(object)
    checked = Signal()

    def __init__(self, name: str, meaning: str, *, one: bool = False) -> None:
        super().__init__()
        self._one = one
        self.edit = QLineEdit()
        self.edit.setAccessibleName(name)
        self.edit.setFixedWidth(round(190 * theme.state.text_scale))
        self.edit.setFont(theme.font(tabular=True))
        self.edit.editingFinished.connect(self.check)
        self.wrong = label("", "caption", "bad", wrap=True)
        self.wrong.hide()
        title = label(name, "strong")
        title.setBuddy(self.edit)
        words = column(title, label(meaning, "caption", "muted", wrap=True), self.wrong, gap=Space.XXS)
        line = row(words, self.edit, gap=Space.XL)
        line.setStretch(0, 1)
        line.setContentsMargins(Space.L, Space.M, Space.L, Space.M)
        self.setLayout(line)

    def show_value(self, value: Sequence[int]) -> None:
        words = ", ".join(map(str, value))
        if not self.edit.hasFocus() or not self.is_wrong:
            self.edit.setText(words)
            self._mark(is_wrong=False)

    @property
    def is_wrong(self) -> bool:
        return bool(self.wrong.text())

    def check(self) -> None:
        """Take what stands there, or mark it."""
        found = profiling_wish.numbers(self.edit.text())
        is_wrong = found is None or (self._one and len(found) > 1)
        self._mark(is_wrong=is_wrong)
        if not is_wrong:
            self.changed.emit(found)

    def _mark(self, *, is_wrong: bool) -> None:
        if is_wrong == self.is_wrong:
            return
        self.wrong.setText(say("profile_ui.not_numbers") if is_wrong else "")
        self.wrong.setVisible(is_wrong)
        self.edit.setProperty("invalid", is_wrong)
        self.edit.style().unpolish(self.edit)
        self.edit.style().polish(self.edit)
        self.checked.emit()


class ProfileForm(QWidget):
    """
    Signals:
        changed: the wish is another
        checked: a field was marked as wrong, or is so no more
    """

    changed = Signal()
    checked = Signal()

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self.wish = wish
        self.kinds: dict[str, ChoiceCard] = {}
        self.models = Flow()
        self.fields: dict[str, NumbersField] = {}
        self.chips: dict[str, dict[str, Chip]] = {"weights": {}, "kv_caches": {}, "methods": {}}
        self._installed: list[str] = []
        self._parts: dict[str, QWidget] = {}
        self._body = column(gap=Space.XL)
        self.setLayout(self._body)

    # --- layout -------------------------------------------------------------------------

    def build(self) -> Iterator[None]:
        """A part at a time, so that no frame waits for all of them."""
        self._body.addWidget(section(say("profile_ui.form_kind"), "", self._kinds()))
        yield
        self.add_shape = Button(say("profile_ui.add_shape"), "ghost", "plus", small=True, trailing="down")
        self.add_shape.setToolTip(say("profile_ui.add_shape_hint"))
        self.add_shape.clicked.connect(self._open_shapes)
        models, remark = Card(column(self.models), padding=Space.M), say("profile_ui.form_models_remark")
        self._body.addWidget(section(say("profile_ui.form_models"), remark, models, self.add_shape))
        for axis, make in self._makers().items():
            yield
            part = self._parts[axis] = make()
            part.hide()
            self._body.addWidget(part)
        yield
        self._body.addWidget(self._options())

    def _makers(self) -> dict[str, Callable[[], QWidget]]:
        return {
            "weights": lambda: self._chip_card("weights", WEIGHTS, weights_words),
            "kv_caches": lambda: self._chip_card("kv_caches", KV, lambda one: say(f"profile_ui.kv_choice_{one}")),
            "cases": lambda: self._number_card("cases"),
            "training": self._training_card,
        }

    def _kinds(self) -> QWidget:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(Space.S)
        for place, kind in enumerate(KINDS):
            card = self.kinds[kind] = ChoiceCard(say(f"profile_ui.kind_{kind}"))
            card.show_words(say(f"profile_ui.kind_{kind}_means"), "")
            card.show_badge("", "neutral", "")
            card.meaning.setAlignment(Qt.AlignmentFlag.AlignTop)
            card.clicked.connect(partial(self._turn, kind))
            grid.addWidget(card, place // 2, place % 2, 1, 2 if place == len(KINDS) - 1 else 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        return pane(grid)

    def _chip_card(self, axis: str, values: Sequence[str], words: Callable[[str], str]) -> QWidget:
        flow = Flow()
        for value in values:
            chip = self.chips[axis][value] = Chip(words(value), checkable=True)
            chip.clicked.connect(lambda _on=False, axis=axis, value=value: self._choose(axis, value))
            flow.add(chip)
        return section(say(f"profile_ui.form_{axis}"), say(f"profile_ui.form_{axis}_remark"),
                       Card(column(flow), padding=Space.M))  # fmt: skip

    def _number_card(self, group: str, *first: QWidget) -> QWidget:
        lines = column(*first, gap=0)
        names = [name for name, of in NUMBERS.items() if of == group]
        for place, name in enumerate(names):
            if place or first:
                lines.addWidget(Line())
            field = NumbersField(
                say(f"profile_ui.field_{name}"), say(f"profile_ui.field_{name}_means"), one=name == "rows"
            )
            field.changed.connect(partial(self._take, name))
            field.checked.connect(self.checked)
            self.fields[name] = field
            lines.addWidget(field)
        return section(say(f"profile_ui.form_{group}"), say(f"profile_ui.form_{group}_remark"),
                       Card(lines, padding=1))  # fmt: skip

    def _training_card(self) -> QWidget:
        flow = Flow()
        for method in METHODS:
            name = {"lora": "LoRA", "qlora": "Q-LoRA", "full": say("profile_ui.method_full")}[method]
            chip = self.chips["methods"][method] = Chip(name, checkable=True)
            chip.clicked.connect(lambda _on=False, method=method: self._choose("methods", method))
            flow.add(chip)
        holder = column(flow)
        holder.setContentsMargins(Space.M, Space.M, Space.M, Space.M)
        return self._number_card("training", pane(holder))

    def _options(self) -> QWidget:
        self.quality = Switch(say("profile_ui.quality"))
        self.quality.toggled.connect(lambda on: self._set("quality", on))
        self.repeats = Segmented(say("profile_ui.repeats"), [say("profile_ui.usual"), *map(str, REPEATS[1:])])
        self.repeats.chosen.connect(lambda place: self._set("repeats", REPEATS[place]))
        self.device = Segmented(say("profile_ui.device"), [say("profile_ui.device_card"), say("profile_ui.device_cpu")])
        self.device.chosen.connect(lambda place: self._set_device(DEVICES[place]))
        self.snapshot = Switch(say("profile_ui.keep_snapshot"))
        self.snapshot.toggled.connect(lambda on: self._set("snapshot", on))
        self._card_only = [
            setting(say("profile_ui.device"), say("profile_ui.device_means"), self.device),
            setting(say("profile_ui.keep_snapshot"), say("profile_ui.keep_snapshot_means"), self.snapshot),
        ]
        self._quality_row = setting(say("profile_ui.quality"), say("profile_ui.quality_means"), self.quality)
        repeats = setting(say("profile_ui.repeats"), say("profile_ui.repeats_means"), self.repeats, last=True)
        body = Card(column(*self._card_only, self._quality_row, repeats, gap=0), padding=1)
        return section(say("profile_ui.form_options"), "", body)

    # --- what is chosen --------------------------------------------------------------------

    def show_wish(self, installed: Sequence[str], on_card: bool) -> None:
        """As it stands, with the models there are."""
        wish = self.wish
        self._installed = list(installed)
        wish.settle(self._installed, on_card)
        for kind, card in self.kinds.items():
            card.setChecked(kind == wish.kind)
        self._show_models()
        for axis, chips in self.chips.items():
            for value, chip in chips.items():
                chip.setChecked(value in getattr(wish, axis))
        for name, field in self.fields.items():
            numbers: Any = getattr(wish, name)
            field.show_value((numbers,) if isinstance(numbers, int) else numbers)
        shown = profiling_wish.AXES[wish.kind]
        for axis, part in self._parts.items():
            part.setVisible(axis in shown)
        self._quality_row.setVisible(wish.kind not in ("training",))
        for one in self._card_only:
            one.setVisible(on_card)
        self.quality.setChecked(wish.quality)  # which tells of what the wish holds already
        self.snapshot.setChecked(wish.snapshot)
        for control, place in ((self.repeats, REPEATS.index(wish.repeats)), (self.device, DEVICES.index(wish.device))):
            control.blockSignals(True)
            control.choose(place)
            control.blockSignals(False)

    def wrong(self) -> NumbersField | None:
        """The first field that holds no numbers, of those that are asked for."""
        axes = profiling_wish.AXES[self.wish.kind]
        return next((field for name, field in self.fields.items() if NUMBERS[name] in axes and field.is_wrong), None)

    def check(self) -> None:
        """What is still being typed counts as well."""
        for name, field in self.fields.items():
            if NUMBERS[name] in profiling_wish.AXES[self.wish.kind]:
                field.check()

    def _show_models(self) -> None:
        self.models.clear()
        for name in self._installed:
            self.models.add(self._model_chip(name, name, self.wish.models))
        for name in self.wish.shapes:
            self.models.add(self._model_chip(name, say("profile_ui.random", name=name), self.wish.shapes))
        if not self.models.items:
            self.models.add(label(say("profile_ui.no_models"), "body", "muted"))

    def _model_chip(self, name: str, words: str, chosen: list[str]) -> Chip:
        chip = Chip(words, checkable=True)
        chip.setChecked(name in chosen)
        chip.clicked.connect(lambda: self._toggle(chosen, name))
        return chip

    def _toggle(self, chosen: list[str], name: str) -> None:
        if name in chosen:
            chosen.remove(name)
        else:
            chosen.append(name)
        self.wish.is_touched = True
        if chosen is self.wish.shapes:
            self._show_models()
        self.changed.emit()

    def _open_shapes(self) -> None:
        menu = Menu(self)
        for name in shapes.NAMED:
            if name != "tiny":
                menu.add(
                    name, partial(self._toggle, self.wish.shapes, name), "check" if name in self.wish.shapes else ""
                )
        menu.popup(self.add_shape.mapToGlobal(self.add_shape.rect().bottomLeft()))

    def _turn(self, kind: Kind) -> None:
        wish = self.wish
        if kind != wish.kind:
            wish.turn(kind)
            if not wish.is_touched:
                wish.models, wish.shapes = [], []
        self.show_wish(self._installed, wish.on_card)
        self.changed.emit()

    def _choose(self, axis: str, value: str) -> None:
        """Values keep the order in which they are shown."""
        chips = self.chips[axis]
        setattr(self.wish, axis, [one for one, chip in chips.items() if chip.isChecked()])
        self.changed.emit()

    def _take(self, name: str, value: tuple[int, ...]) -> None:
        wanted: object = value[0] if name == "rows" else value
        if getattr(self.wish, name) != wanted:
            setattr(self.wish, name, wanted)
            self.changed.emit()

    def _set(self, name: str, value: object) -> None:
        setattr(self.wish, name, value)
        self.changed.emit()

    def _set_device(self, device: DeviceChoice) -> None:
        self._set("device", device)
        if self.wish.kind == "training":
            self.wish.turn("training")
            self.show_wish(self._installed, self.wish.on_card)
