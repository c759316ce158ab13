"""The pane beside Discover: all that is known of one model before it is fetched, and the button that fetches it.

Invariant: what the catalogue knows stands there at once; what a hub says comes into its own place and moves nothing
above it. The one primary button says what it will do, with its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLayout, QWidget

from app.services import consent, estimates
from app.services.discovery import Look, Offer
from app.services.downloads import Item
from app.services.estimates import Badges
from app.ui.models.fetching import Choice
from app.ui.models.naming import safe
from app.ui.models.offer_files import OfferFiles, usual_file
from app.ui.models.offer_memory import OfferMemory
from app.ui.models.offer_source import OfferSource
from app.ui.models.offer_words import TONES, about, badge_words, facts_line, licence_words, shortened
from app.ui.tokens import Space
from app.ui.widgets.badge import Badge
from app.ui.widgets.button import Button, Select, wide
from app.ui.widgets.feedback import EmptyState
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from core import figures
from core.errors import UserError
from core.models.space import RESERVE_BYTES
from core.translation import say

WIDTH = 340
WAITS = ("hub_unreachable", "hub_slow", "hub_busy")  # a download waits for what mends these


class OfferDetail(QWidget):
    """
    Attributes:
        naming: under which name a choice would join the library
    Signals:
        asked: "download", "chat", "downloads", "card", "licence", "measure", "page", "terms" or "again"
        explain_asked: which of the questions of the help page
        file_chosen: one of several GGUF files
    """

    asked = Signal(str)
    explain_asked = Signal(str)
    file_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.offer: Offer | None = None
        self.naming: Callable[[Choice], str] = lambda choice: choice.wished
        self.is_unreachable = False
        self.look: Look | None = None
        self.file = ""
        self._verb = "download"
        self._free_bytes = 0
        self.setProperty("ground", "sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(WIDTH)
        self._nothing = EmptyState("models", say("discover.choose_title"), say("discover.choose_means"))
        self.is_ready = False
        self._lines = column(gap=Space.M)
        self._lines.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        self._body = column(Scroll(pane(self._lines), say("models.details")), gap=0)
        self._body.setStretch(0, 1)
        self._whole = pane(self._body)
        self.setLayout(column(self._nothing, self._whole, gap=0))
        self._nothing.hide()

    # --- layout ----------------------------------------------------------------------

    def build(self) -> Iterator[None]:
        """In pieces, into the page that is in view, so that no frame waits for all of them."""
        for make in (self._make_head, self._make_memory, self._make_source, self._make_files, self._make_foot):
            make()
            yield
        self.is_ready = True
        self.show_offer(None, {}, "")

    def _add(self, *parts: QWidget | QLayout) -> None:
        for part in parts:
            if isinstance(part, QLayout):
                self._lines.addLayout(part)
            elif isinstance(part, QWidget):
                self._lines.addWidget(part)

    def _make_head(self) -> None:
        self._name = label("", "title", wrap=True)
        self.badge = Badge("")
        head = row(self._name, self.badge, gap=Space.S)
        head.setStretch(0, 1)
        head.setAlignment(self.badge, Qt.AlignmentFlag.AlignTop)
        self._facts = label("", "caption", "muted", wrap=True)
        self._about = label("", "body", "soft", wrap=True)
        self.card = self._button("card", "discover.card", "card")
        self.page = self._button("page", "discover.page", "external")
        self._add(head, self._facts, self._about, row(self.card, self.page, None, gap=0), Line())

    def _make_memory(self) -> None:
        self.memory = OfferMemory()
        self._add(self.memory, Line())

    def _make_source(self) -> None:
        self._problem = label("", "caption", "warn", wrap=True)
        self.again = self._button("again", "discover.again", "refresh")
        self.terms = self._button("terms", "discover.terms", "key")
        self._trouble = pane(column(self._problem, row(self.again, self.terms, None), gap=Space.XS))
        self.source = OfferSource()
        self.source.measure_asked.connect(lambda: self.asked.emit("measure"))
        self._add(self._trouble, self.source)

    def _make_files(self) -> None:
        self._licence = label("", "body", "soft", wrap=True)
        self.read = self._button("licence", "discover.read", "licence")
        licence = row(label(say("models.licence"), "strong"), None, self.read, gap=Space.S)
        self.files = OfferFiles()
        self.files.chosen.connect(self.file_chosen)
        self.files.explain_asked.connect(self.explain_asked)
        self._base_title = label(say("discover.base_of"), "strong")
        self.base = Select(say("discover.base_of"), [say("discover.base_says")])
        self._add(pane(column(licence, self._licence, gap=0)), self._base_title, self.base, self.files)
        self._lines.addStretch(1)

    def _button(self, verb: str, words: str, icon: str) -> Button:
        result = Button(say(words), "ghost", icon, small=True)
        result.clicked.connect(lambda: self.asked.emit(verb))
        return result

    def _make_foot(self) -> None:
        self.go = wide(Button(say("discover.download"), "primary", "download"))
        self.go.clicked.connect(lambda: self.asked.emit(self._verb))
        self._below = label("", "caption", "muted", wrap=True)
        lines = column(self.go, self._below, gap=Space.XS)
        lines.setContentsMargins(Space.L, Space.M, Space.L, Space.M)
        self._body.addWidget(Line())
        self._body.addWidget(pane(lines))

    # --- what is shown ---------------------------------------------------------------

    def show_offer(self, offer: Offer | None, badges: Badges, hub_says: str) -> None:
        """What is known at once. `hub_says`: where its memory is not known, why."""
        self._nothing.setVisible(offer is None)
        self._whole.setVisible(offer is not None)
        if offer is None:
            self.offer = self.look = None
            return
        if self.offer is None or offer.id != self.offer.id:
            self.look, self.file, self.is_unreachable = None, "", False
            self._trouble.hide()
            self.files.show_nothing()
        self.offer = offer
        title = offer.entry.title if offer.entry is not None else ""
        self._name.setText(title or offer.name)
        best = estimates.best(badges)
        self.badge.setVisible(best is not None)
        if best is not None:
            self.badge.show_state(badge_words(best), TONES[best.verdict], "dot")
        self._facts.setText(facts_line(offer))
        self._about.setText(about(offer))
        self.card.setVisible(bool(offer.sources))
        self.page.setVisible(bool(offer.sources))
        self.memory.show_offer(offer, badges, hub_says)
        self.source.show_offer(offer)
        self._licence.setText(licence_words(consent.licence_of(offer, self.look)))
        self._show_base()

    def show_waiting(self) -> None:
        """A hub is being asked."""
        self.is_unreachable = False
        self._trouble.hide()
        self.files.show_waiting()

    def show_look(self, look: Look, badges: Badges) -> None:
        self.look = look
        self._trouble.hide()
        self.file = self.file or usual_file(look)
        self.show_offer(look.offer, badges, str(look.why) if look.why is not None else "")
        self.files.show_look(look, self.file)

    def show_problem(self, error: UserError) -> None:
        """The hubs do not tell; what the catalogue knows stays."""
        self.is_unreachable = error.code in WAITS
        self.files.show_nothing()
        self._problem.setText(shortened(error))
        self._problem.setToolTip(str(error))
        self.terms.setVisible(error.code in ("hub_gated", "hub_token_refused"))
        self._trouble.show()

    def _show_base(self) -> None:
        is_adapter = self.look is not None and self.look.needed.kind == "adapter"
        self._base_title.setVisible(is_adapter)
        self.base.setVisible(is_adapter)

    def show_bases(self, names: Sequence[str]) -> None:
        """The models that an adapter could belong to."""
        values = [say("discover.base_says"), *names]
        now = self.base.text() if self.base.text() in values else values[0]
        self.base.set_values(values, now)

    # --- the button --------------------------------------------------------------------

    def choice(self) -> Choice | None:
        """What the button stands for."""
        if self.offer is None:
            return None
        base = "" if self.base.text() == say("discover.base_says") or self.base.isHidden() else self.base.text()
        made = Choice(self.offer, self.look, self.memory.form, self.source.ordered(), self.file, base)
        return replace(made, called=self.naming(made))

    def show_state(self, installed: str, item: Item | None, free_bytes: int) -> None:
        """What the button does now: fetch it, go on with it, show it on its way, or chat with it."""
        choice = self.choice()
        if choice is None:
            return
        size = figures.size(choice.total_bytes) if choice.total_bytes else ""
        below, is_short = self._room_words(choice.total_bytes, free_bytes)
        if choice.name != safe(choice.wished):
            below = say("discover.space").join((say("discover.called", name=choice.name), below))
        if installed:
            self._set("chat", say("discover.open_chat"), "chat", say("discover.is_here", name=installed))
        elif item is not None and item.state in ("running", "waiting"):
            self._set("downloads", say("discover.see_download"), "download", say("discover.is_coming"), quiet=True)
        elif item is not None and item.state in ("paused", "failed"):
            self._set("download", say("discover.go_on"), "play", below)
        else:
            is_pickle = self.look is not None and self.look.needed.kind == "pickle"
            key = "discover.download_convert" if is_pickle else "discover.download"
            words = say(f"{key}_size", size=size) if size else say(key)
            self._set("download", words, "download", below)
            self.go.setEnabled(not is_short)
        tone = "bad" if is_short and not installed and item is None else "muted"
        self._below.setProperty("tone", tone)
        self._below.style().polish(self._below)

    def _set(self, verb: str, words: str, icon: str, below: str, *, quiet: bool = False) -> None:
        self._verb = verb
        self.go.variant = "secondary" if quiet else "primary"
        self.go.icon_name = icon
        self.go.setText(words)
        self.go.setAccessibleName(words)
        self.go.setEnabled(True)
        self.go.update()
        self._below.setText(below)

    def _room_words(self, needed: int, free: int) -> tuple[str, bool]:
        """What is free on the disk, and whether that is too little."""
        if not free:
            return say("discover.checked"), False
        if self.is_unreachable:
            return say("discover.will_wait"), False
        if needed and needed + RESERVE_BYTES > free:
            return say("discover.disk_short", needed=figures.size(needed), free=figures.size(free)), True
        return say("discover.disk_free", free=figures.size(free)), False
