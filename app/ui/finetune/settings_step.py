"""Step four: how it shall learn. A preset to begin with, four settings that matter, and all the others on request.

Invariant: every row shows the draft's value; a row that changes nothing for the chosen method is not shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.services.finetune_draft import Told
from app.ui import aio
from app.ui.finetune.fields import FEW, GROUPS, Field, FieldRow, is_meant
from app.ui.finetune.step import Step
from app.ui.tokens import Size, Space
from app.ui.training_run.words import times
from app.ui.widgets.button import Button, Select
from app.ui.widgets.layout import Card, column, label, pane, row
from app.ui.widgets.page import section
from core import figures
from core.errors import UserError
from core.training import presets
from core.translation import say


class SettingsStep(Step):
    """
    Attributes:
        rows: by key, those that have been built
    """

    NAME = "settings"
    _lines: QVBoxLayout | None = None

    def build(self) -> Iterator[None]:
        self.rows: dict[str, FieldRow] = {}
        self._sections: dict[str, QWidget] = {}
        self._opening: asyncio.Task[None] | None = None
        self._lines = column(gap=Space.XL)
        self.lines.addWidget(pane(self._lines))
        self._narrow()
        self._lines.addWidget(self._preset_part())
        yield
        lines = column(gap=0)
        self._lines.addWidget(section(say("finetune_ui.few"), "", Card(lines, padding=1)))
        yield from self._fill(lines, FEW)
        self.more = Button("", "ghost", "down", small=True)
        self.more.clicked.connect(self._toggle)
        self._lines.addWidget(pane(row(self.more, None)))
        self._rest: QVBoxLayout = column(gap=Space.XL)
        self._rest_pane = pane(self._rest)
        self._lines.addWidget(self._rest_pane)
        self.lines.addStretch(1)

    def _preset_part(self) -> QWidget:
        self._names = {name: say(f"preset.{name}") for name in presets.ORDER}
        self._own = say("finetune_ui.preset_own")
        self.preset = Select(say("finetune_ui.preset"), [*self._names.values()], self._own)
        self.preset.chosen.connect(self._take_preset)
        self._preset_means = label("", "caption", "muted", wrap=True)
        title = label(say("finetune_ui.preset"), "strong")
        line = row(column(title, self._preset_means, gap=Space.XXS), self.preset, gap=Space.XL)
        line.setStretch(0, 1)
        return Card(line)

    def _fill(self, lines: QVBoxLayout, fields: Sequence[Field]) -> Iterator[None]:
        for field in fields:
            made = self.rows[field.key] = FieldRow(field, last=field is fields[-1])
            made.changed.connect(self._take)
            made.reclaimed.connect(lambda: self.draft.change(steps=0))
            lines.addWidget(made)  # first: a widget without a place would be a window
            self._show_row(made)
            yield

    def _groups(self) -> Iterator[None]:
        """All other settings, group by group."""
        for name, fields in GROUPS.items():
            lines = column(gap=0)
            part = self._sections[name] = section(say(f"finetune_ui.group_{name}"), "", Card(lines, padding=1))
            self._rest.addWidget(part)
            part.setVisible(any(is_meant(field, self.draft.recipe) for field in fields))
            yield from self._fill(lines, fields)

    def _narrow(self) -> None:
        """No wider than a form: by the margin, for a greatest width is not known to what wraps within."""
        if self._lines is not None:
            room = self.width() - 2 * Space.XL - Size.FORM
            self._lines.setContentsMargins(0, 0, max(0, room), 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._narrow()

    # --- what is shown -----------------------------------------------------------------------

    def enter(self) -> None:
        self._show_rest()
        self._show()

    def leave(self) -> None:
        if self.is_built and self._opening is not None:
            self._opening.cancel()

    def show_draft(self, told: Told) -> None:
        if told == "recipe":
            self._show()

    def _show(self) -> None:
        recipe, name = self.draft.recipe, self.draft.preset
        for made in self.rows.values():
            self._show_row(made)
        for group, part in self._sections.items():
            part.setVisible(any(is_meant(field, recipe) for field in GROUPS[group]))
        self.preset.show_value(self._names.get(name, self._own))
        self._preset_means.setText(say(f"preset.{name}_means") if name else say("finetune_ui.preset_means"))

    def _show_row(self, made: FieldRow) -> None:
        made.show_value(getattr(self.draft.recipe, made.field.key))
        made.setVisible(is_meant(made.field, self.draft.recipe))
        if made.field.key == "epochs":
            made.show_overruled(self._overruled())

    def _overruled(self) -> str:
        """Steps, where they are given, decide how often it goes over the data."""
        steps, plan = self.draft.recipe.steps, self.draft.plan()
        if not steps:
            return ""
        counted = figures.count(steps)
        if plan is None or not plan.steps_of_epoch:
            return say("finetune_ui.steps_decide", steps=counted)
        return say("finetune_ui.steps_decide_times", steps=counted, epochs=times(steps / plan.steps_of_epoch))

    def _show_rest(self) -> None:
        expanded = self.draft.expanded
        words = say("finetune_ui.fewer" if expanded else "finetune_ui.all_settings")
        self.more.setText(words)
        self.more.setAccessibleName(words)
        self.more.icon_name = "up" if expanded else "down"
        self.more.updateGeometry()
        self._rest_pane.setVisible(expanded)
        if expanded and not self._sections and self._opening is None:
            self._opening = aio.spawn(self._open(), "all settings")

    async def _open(self) -> None:
        for _ in self._groups():
            await asyncio.sleep(0)

    # --- choices ---------------------------------------------------------------------------------

    def _toggle(self) -> None:
        self.draft.expanded = not self.draft.expanded
        self._show_rest()

    def _take(self, key: str, value: object) -> None:
        if getattr(self.draft.recipe, key) != value:
            self.draft.change(**{key: value})

    def _take_preset(self, said: str) -> None:
        try:
            self.draft.take_preset(next(name for name, words in self._names.items() if words == said))
        except UserError as error:
            self._show()  # as it was
            self.window_.notify("warn", str(error), page=self)
