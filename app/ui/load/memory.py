"""The memory that the chosen options take, as numbers, a word and a bar; and what would make a too big model fit.

Invariant: the word (fits, tight, too big) always stands beside the numbers it was made of.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services import fitting
from app.services.fitting import Fit, Room, Subject
from app.ui.model_words import device_words, notice_words
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge, Tone
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.memory_bar import MemoryBar, Part
from core import figures
from core.load_options import LoadOptions
from core.models import device_plan
from core.translation import say

TONES: dict[str, Tone] = {"fits": "ok", "tight": "warn", "too_big": "bad"}


class MemoryPane(QWidget):
    """
    Signals:
        smaller_asked: LoadOptions with which the model would fit
    """

    smaller_asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._title = label(say("load.memory"), "strong")
        self.badge = Badge(say("load.estimating"), "neutral")
        self.bar = MemoryBar(say("load.memory"))
        self.words = label("", "caption", "soft", wrap=True)
        self._smaller: LoadOptions | None = None
        self.change = Button("", "soft", small=True)
        self.change.clicked.connect(lambda: self.smaller_asked.emit(self._smaller))
        self.change.hide()
        self.plan = label("", "caption", "soft", wrap=True)
        self.plan.hide()
        foot = row(self.words, self.change, gap=Space.M)
        foot.setStretch(0, 1)
        self.setLayout(column(row(self._title, None, self.badge), self.bar, self.plan, foot, gap=Space.XS))

    def show_fit(self, subject: Subject, options: LoadOptions, free: Room) -> Fit:
        """Estimate anew; arithmetic only."""
        fit = fitting.fit(subject, options, free)
        need = fit.footprint
        place = say("load.all_devices") if fit.plan else free.card_name if fit.on_card else say("load.system_memory")
        self._title.setText(say("load.memory_on", place=place))
        self.badge.show_state(say(f"load.{fit.verdict}"), TONES[fit.verdict], "dot")
        parts = (
            Part(say("load.part_weights"), need.weights, 0),
            Part(say("load.part_kv"), need.kv_cache, 1),
            Part(say("load.part_workspace"), need.workspace, 2),
            Part(say("load.part_program"), need.overhead, 6),
        )
        self.bar.show_parts(parts, fit.free, TONES[fit.verdict])
        self.words.setText(_words(fit))
        self._show_plan(fit)
        self._offer(subject, options, free)
        return fit

    def _show_plan(self, fit: Fit) -> None:
        """Which device gets what, a line each, and what that means."""
        shares = fit.plan.shares if fit.plan else ()
        lines = [
            say(
                "load.plan_line",
                device=share.device.label or device_words(share.device.name),
                parts=device_plan.described(share.parts),
                needed=figures.size(share.total),
                free=figures.size(share.device.free_bytes),
            )
            for share in shares
        ]
        lines += [notice_words(notice) for notice in (fit.plan.notices() if fit.plan else ())]
        self.plan.setText("\n".join(lines))
        self.plan.setVisible(bool(lines))

    def _offer(self, subject: Subject, options: LoadOptions, free: Room) -> None:
        """The least change that helps, as a button."""
        found = self._smaller = fitting.smaller(subject, options, free)
        self.change.setVisible(found is not None)
        if found is not None:
            needed = figures.size(fitting.fit(subject, found, free).footprint.total)
            changes = []
            if found.weights != options.weights:
                changes.append(figures.precision(found.weights))
            if found.kv_cache != options.kv_cache:
                changes.append(say("load.change_kv"))
            if found.context_length != options.context_length:
                changes.append(say("models.tokens", count=figures.count(found.context_length or subject.own)))
            words = say("load.take_smaller", changes=", ".join(changes), needed=needed)
            self.change.setText(words)
            self.change.setAccessibleName(words)
            self.change.updateGeometry()


def _words(fit: Fit) -> str:
    """What the verdict means, with its numbers."""
    needed, free = figures.size(fit.footprint.total), figures.size(fit.free)
    if fit.verdict == "tight" and fit.room < fit.context:
        room = figures.count(fit.room // 256 * 256 or fit.room)
        return say("load.tight_context", needed=needed, free=free, tokens=room)
    return say(f"load.{fit.verdict}_means", needed=needed, free=free)
