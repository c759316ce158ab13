"""What a model would take of the memory here, before it is fetched: the weights to choose, all uses at once, the bar.

Invariant: every verdict stands beside its number, and the bar shows the use that is chosen.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.services import estimates
from app.services.badges import Badge, Form
from app.services.discovery import Offer
from app.services.estimates import Badges
from app.ui import theme
from app.ui.models.offer_words import TONES, badge_words, form_words, reason
from app.ui.tokens import Radius, Space, Type
from app.ui.widgets.badge import badge_width, paint_badge
from app.ui.widgets.button import Pressable
from app.ui.widgets.layout import column, label, row
from app.ui.widgets.memory_bar import MemoryBar, Part
from app.ui.widgets.painting import begin, box, focus_ring, text, width_of
from app.ui.widgets.toggle import Segmented
from core import figures
from core.translation import say

MADE: tuple[Form, ...] = ("bfloat16", "int8", "int4")  # at load
SERIES = {"weights": 0, "kv_cache": 1, "workspace": 2, "activations": 2, "adapter": 3, "process": 6}
ROW_PX = 28


class UseRow(Pressable):
    """One use of the model: its name, the memory and the verdict. The chosen one moves the bar.

    Signals:
        moved: an arrow key leads to the row before (-1) or after (1)
    """

    moved = Signal(int)

    def __init__(self, badge: Badge, offer: Offer) -> None:
        super().__init__("")
        self.setCheckable(True)
        self.show_badge(badge, offer)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(round(ROW_PX * theme.state.text_scale))

    def show_badge(self, badge: Badge, offer: Offer) -> None:
        """The same use of another model, or against other memory."""
        self.badge = badge
        is_training = badge.form in ("lora", "qlora")
        form = form_words(badge.form, offer)
        name = say("discover.use_train" if is_training else "discover.use_chat", form=form)
        self.setText(name)
        self._size = figures.size(badge.needed)
        self.setAccessibleName(f"{name}, {badge_words(badge)}, {self._size}")
        self.setAccessibleDescription(reason(badge, offer))
        self.setToolTip(reason(badge, offer))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(260, self.height())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self.moved.emit(step)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = begin(self)
        rect = QRectF(self.rect())
        if self.isChecked():
            box(painter, rect, Radius.M, c.selected)
        elif veil := self.veil():
            box(painter, rect, Radius.M, veil)
        words, numbers = badge_words(self.badge), theme.font(tabular=True)
        widest = max(badge_width(say(f"load.{verdict}"), "dot") for verdict in TONES)
        x = rect.right() - Space.S - widest
        y = (rect.height() - round(20 * theme.state.text_scale)) / 2
        paint_badge(painter, x, y, words, TONES[self.badge.verdict], "dot")
        used = width_of(self._size, numbers)
        text(painter, QRectF(x - Space.M - used, 0, used + 1, rect.height()), self._size, numbers, c.text)
        room = x - 2 * Space.M - used - Space.S
        tint = c.text if self.isChecked() else c.text_soft
        text(painter, QRectF(Space.S, 0, room, rect.height()), self.text(), theme.font(Type.BODY), tint)
        if self.ring:
            focus_ring(painter, rect, Radius.M)


class OfferMemory(QWidget):
    """
    Attributes:
        form: how its weights shall lie in memory
    """

    def __init__(self) -> None:
        super().__init__()
        self.form: Form = "stored"
        self._offer: Offer | None = None
        self._badges: Badges = {}
        self.rows: dict[Form, UseRow] = {}
        self.weights = Segmented(say("discover.weights"), [figures.precision(form) for form in MADE])
        self.weights.chosen.connect(lambda index: self._choose(MADE[index]))
        self._published = label("", "body", "soft")
        self._what = label(say("discover.weights"), "strong")
        self._head = row(self._what, None, self.weights, self._published)
        self._uses = column(gap=0)
        self._title = label("", "strong", wrap=True)
        self.bar = MemoryBar(say("load.memory"))
        self._reason = label("", "caption", "muted", wrap=True)
        self._measured = label("", "caption", "muted", wrap=True)
        self._whole = column(
            self._head, self._uses, Space.XXS, self._title, self.bar, self._reason, self._measured, gap=Space.S
        )
        self.setLayout(self._whole)

    def show_offer(self, offer: Offer, badges: Badges, unknown: str) -> None:
        """`unknown`: said instead, where nothing can be told yet."""
        if (offer, badges) == (self._offer, self._badges) and badges:
            return
        is_new = self._offer is None or offer.id != self._offer.id or set(badges) != set(self._badges)
        chosen = next((form for form, line in self.rows.items() if line.isChecked()), None)
        self._offer, self._badges = offer, badges
        best = estimates.best(badges)
        self._rebuild(offer)
        can_choose = "bfloat16" in badges
        self._what.setText(say("discover.weights" if badges else "load.memory"))
        self.weights.setVisible(can_choose)
        self._published.setVisible(bool(badges) and not can_choose)
        self._published.setText(say("discover.published_form", form=form_words("stored", offer)))
        for part in (self._title, self.bar):
            part.setVisible(bool(badges))
        self._reason.setText("" if badges else unknown)
        self._reason.setVisible(bool(badges) or bool(unknown))
        self._show_published(offer)
        if best is not None:
            form = best.form if is_new or chosen is None else chosen
            self._choose(form if form in badges else best.form)

    def _rebuild(self, offer: Offer) -> None:
        if list(self.rows) == list(self._badges):
            for form, line in self.rows.items():
                line.show_badge(self._badges[form], offer)
            return
        while item := self._uses.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        self.rows = {}
        for form, badge in self._badges.items():
            line = self.rows[form] = UseRow(badge, offer)
            line.clicked.connect(lambda _=False, form=form: self._choose(form))
            line.moved.connect(lambda step, form=form: self._move(form, step))
            self._uses.addWidget(line)

    def _move(self, form: Form, step: int) -> None:
        forms = list(self.rows)
        place = forms.index(form) + step
        if 0 <= place < len(forms):
            self._choose(forms[place])
            self.rows[forms[place]].setFocus(Qt.FocusReason.TabFocusReason)

    def _choose(self, form: Form) -> None:
        if self._offer is None or form not in self._badges:
            return
        for name, line in self.rows.items():
            line.setChecked(name == form)
            line.update()
        badge = self._badges[form]
        if form not in ("lora", "qlora"):
            self.form = form
        if form in MADE:
            quiet = self.weights.blockSignals(True)
            self.weights.choose(MADE.index(form))
            self.weights.blockSignals(quiet)
        key = "discover.memory_training" if form in ("lora", "qlora") else "discover.memory_at"
        self._title.setText(say(key, tokens=figures.count(badge.context)))
        parts = [Part(say(f"discover.part_{name}"), size, SERIES[name]) for name, size in badge.parts]
        self.bar.show_parts(parts, badge.free, TONES[badge.verdict])
        self._reason.setText(reason(badge, self._offer))

    def _show_published(self, offer: Offer) -> None:
        """What its makers measured, where they did."""
        found = offer.entry.published if offer.entry is not None else None
        self._measured.setVisible(found is not None)
        if found is not None:
            memory, speed = figures.size(found.memory_8192), f"{found.speed_8192:.0f}"
            self._measured.setText(say("discover.published", memory=memory, speed=speed))
