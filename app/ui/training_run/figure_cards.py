"""Four numbers of a run: loss, validation loss, speed, memory, each with what puts it into relation.

Invariant: their places and heights never change; what is not known is a dash.
"""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QLabel, QWidget

from app.services.training import Run
from app.ui import theme
from app.ui.tokens import Space
from app.ui.training_run.feed import Feed
from app.ui.training_run.words import number
from app.ui.widgets.layout import Card, Elided, column, label, row
from core import figures
from core.translation import say

CARDS = ("loss", "eval_loss", "tokens_per_s", "memory")
WINDOW = 20  # steps


class FigureCards(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, QLabel] = {}
        self.remarks: dict[str, Elided] = {}
        self.setLayout(row(*(self._card(name) for name in CARDS), gap=Space.M))

    def _card(self, name: str) -> QWidget:
        value = self.values[name] = label("–", "figure")
        value.setFont(theme.font(tabular=True))
        remark = self.remarks[name] = Elided(" ", "caption", "muted")
        return Card(
            column(label(say(f"run_ui.card_{name}"), "caption", "soft"), value, remark, gap=Space.XXS), padding=Space.M
        )

    def show_run(self, run: Run, feed: Feed) -> None:
        latest, lines = run.latest, feed.lines
        reading = "" if feed.has_history else say("run_ui.reading")
        seconds, memory, speed = (latest.get(key) for key in ("seconds", "memory", "tokens_per_s"))
        aside = lines["eval_loss"].series.values
        self._show("loss", number(latest.get("loss")), _trend(lines["loss"].series.values))
        self._show(
            "eval_loss",
            number(aside[-1] if len(aside) else latest.get("eval_loss")),
            reading or _best(lines["eval_loss"].series.steps, aside),
        )
        per_step = say("run_ui.per_step", time=figures.duration(seconds)) if seconds else " "
        self._show("tokens_per_s", figures.count(round(speed)) if speed else "–", per_step)
        held = lines["memory"].series.values
        now = say("run_ui.now", size=figures.size(memory)) if memory and run.status.is_alive else ""
        peak = figures.size(float(np.nanmax(held))) if np.isfinite(held).any() and not reading else "–"
        self._show("memory", peak, reading or now)

    def _show(self, name: str, value: str, remark: str) -> None:
        self.values[name].setText(value)
        self.remarks[name].setText(remark or " ")


def _trend(values: np.ndarray) -> str:
    """How much lower it became."""
    if len(values) < 2 * WINDOW:
        return ""
    change = float(np.nanmean(values[-WINDOW:]) - np.nanmean(values[-2 * WINDOW : -WINDOW]))
    return say("run_ui.trend", change=f"{change:+.3f}".replace("-", "−"), count=WINDOW) if change == change else ""


def _best(steps: np.ndarray, values: np.ndarray) -> str:
    if not len(values) or not np.isfinite(values).any():
        return say("run_ui.no_validation")
    place = int(np.nanargmin(values))
    if place == len(values) - 1:
        return say("run_ui.best_so_far")
    return say("run_ui.best_at", loss=number(float(values[place])), step=figures.count(int(steps[place])))
