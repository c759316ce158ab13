"""What happens in Discover beyond the list: a hub is asked about the chosen model, its sources are measured, its card
is shown, it is fetched.

Invariant: what a hub answers reaches the pane only while that model is still the chosen one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from shiboken6 import isValid

from app.services.discovery import Offer
from app.services.downloads import Item
from app.services.installed import Installed
from app.ui import aio
from app.ui.models import consent, fetching
from app.ui.models.fetching import Choice
from app.ui.models.installed_actions import Guarded
from app.ui.models.naming import free_name, installed_choice, owner_of, taken_names
from app.ui.models.offer_detail import OfferDetail
from app.ui.models.reading import ReadingDialog
from core.errors import UserError
from core.models import space
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

SETTLE_MS = 250  # of moving through the list before a hub is asked


class OfferActions(QObject):
    """
    Attributes:
        learnt: called when a hub has told of a model that the catalogue does not know
        chat: called with the name of a model
        see_downloads: called to show the queue
    """

    def __init__(
        self,
        window: Window,
        context: AppContext,
        pane: OfferDetail,
        guarded: Guarded,
    ) -> None:
        super().__init__(pane)
        self.learnt: Callable[[], None] = lambda: None
        self.chat: Callable[[str], None] = lambda _: None
        self.see_downloads: Callable[[], None] = lambda: None
        self.models: Sequence[Installed] = ()
        self._window, self._context, self._pane, self._guarded = window, context, pane, guarded
        self._free_bytes = 0
        self._looking: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._look)
        pane.naming = self._name
        pane.asked.connect(self.act)
        pane.file_chosen.connect(self._take_file)
        pane.explain_asked.connect(window.explain)

    def leave(self) -> None:
        self._settle.stop()
        for task in (self._looking, self._measuring):
            if task is not None:
                task.cancel()

    # --- the chosen model --------------------------------------------------------------

    def show(self, offer: Offer | None) -> None:
        """Of the row that is chosen, or of the same one with other badges."""
        before = self._pane.offer
        is_new = offer is None or before is None or before.id != offer.id
        badges = self._context.estimates.of(offer) if offer is not None else {}
        self._pane.show_offer(offer, badges, say("discover.memory_asking") if offer and offer.sources else "")
        self.show_state()
        if is_new:
            self.leave()
            if offer is not None and offer.sources:
                self._settle.start()
            aio.spawn(self._read_disk(), "free disk")

    def show_state(self) -> None:
        """What the button does; after the queue, the library or the disk changed."""
        choice = self._pane.choice()
        if choice is None:
            return
        here = installed_choice(choice, self.models)
        self._pane.show_state(here, self._item(choice), self._free_bytes)

    def show_models(self, models: Sequence[Installed]) -> None:
        self.models = models
        self._pane.show_bases([model.manifest.name for model in models if not model.manifest.base])
        self.show_state()

    def _item(self, choice: Choice) -> Item | None:
        """Its download that has not ended, whatever it is called."""
        return next((item for item in self._queue() if item.state != "cancelled" and _is_for(item, choice)), None)

    def _queue(self) -> list[Item]:
        return [item for item in self._context.downloads.items if item.state != "done"]

    def _name(self, choice: Choice) -> str:
        """Free in the library and in the queue; a download of it that has begun keeps its own."""
        own = next((item.record.name for item in self._queue() if _is_for(item, choice)), "")
        if own:
            return own
        return free_name(choice.wished, owner_of(choice.offer.id), taken_names(self._context, self.models))

    async def _read_disk(self) -> None:
        self._free_bytes = await asyncio.to_thread(space.free_bytes, self._context.library.folder)
        if isValid(self._pane):
            self.show_state()

    # --- what the hub says -----------------------------------------------------------------

    def _look(self, *, anew: bool = False) -> None:
        offer = self._pane.offer
        if offer is not None:
            if self._looking is not None:
                self._looking.cancel()
            self._looking = aio.spawn(self._ask(offer, anew), "look")

    async def _ask(self, offer: Offer, anew: bool) -> None:
        self._pane.show_waiting()
        try:
            look = await self._context.discovery.look(offer, anew=anew)
        except UserError as error:
            if (shown := self._shown(offer)) is not None:
                self._pane.show_problem(error)
                self._pane.show_offer(shown, self._context.estimates.of(shown), say("discover.memory_unknown"))
                self.show_state()
            return
        self._context.estimates.learn(look)
        if (shown := self._shown(offer)) is not None:
            self._pane.show_look(replace(look, offer=shown), self._context.estimates.of(shown))
            self._with_file(self._pane.file)
            self.show_state()
            if offer.entry is None or offer.entry.config is None:
                self.learnt()

    def _take_file(self, path: str) -> None:
        self._with_file(path)
        self.show_state()

    def _with_file(self, path: str) -> None:
        """Of several GGUF files this one."""
        look = self._pane.look
        if look is not None and path and look.needed.choices:
            self._pane.file = path
            self._pane.show_look(self._context.discovery.with_file(look, path), self._context.estimates.of(look.offer))

    async def _measure(self) -> None:
        look = self._pane.look
        if look is None:
            return
        self._pane.source.show_measuring(True)
        try:
            speeds = await self._context.discovery.speeds(look)
        except UserError as error:
            if self._shown(look.offer) is not None:
                self._pane.source.show_measuring(False)
                self._pane.source.show_speeds(())
                self._pane.show_problem(error)
            return
        if self._shown(look.offer) is not None:
            self._pane.source.show_speeds(speeds)

    def _shown(self, offer: Offer) -> Offer | None:
        """The chosen model where it is still this one: meanwhile another hub may have said that it has it too."""
        now = self._pane.offer if isValid(self._pane) else None
        return now if now is not None and now.id == offer.id else None

    # --- verbs -----------------------------------------------------------------------------

    def act(self, verb: str) -> None:
        choice = self._pane.choice()
        if choice is None:
            return
        match verb:
            case "download":
                aio.spawn(self._guarded(self._fetch(choice)), "download")
            case "chat":
                self.chat(installed_choice(choice, self.models) or choice.name)
            case "downloads":
                self.see_downloads()
            case "measure":
                self._measuring = aio.spawn(self._measure(), "measure the sources")
            case "again":
                self._look(anew=True)
            case "terms":
                aio.spawn(self._guarded(self._accept_terms(choice)), "terms")
            case "licence":
                aio.spawn(consent.show_licence(self._window, self._context, choice.offer, choice.look), "licence")
            case "card":
                aio.spawn(self._read_card(choice), "card")
            case "page":
                aio.spawn(self._open_page(choice), "page")
            case _:
                pass

    async def _fetch(self, choice: Choice) -> None:
        """From the faster hub, unless the user has chosen one."""
        if choice.look is not None and not self._pane.source.is_settled:
            await self._measure()
            measured = self._pane.choice() if self._shown(choice.offer) is not None else None
            choice = measured or choice
        if await fetching.fetch(self._window, self._context, choice):
            self._window.notify("ok", say("discover.queued", name=choice.name))
        if isValid(self._pane):
            self.show_state()

    async def _accept_terms(self, choice: Choice) -> None:
        if await consent.accept_terms(self._window, self._context, choice.sources[0]):
            self._look(anew=True)

    async def _read_card(self, choice: Choice) -> None:
        link = await self._context.discovery.page(choice.sources[0])
        dialog = ReadingDialog(self._window, say("models.card_of", name=choice.offer.name), link)
        filling = aio.spawn(self._fill_card(dialog, choice), "card")
        try:
            await aio.ask(dialog)
        finally:
            filling.cancel()

    async def _fill_card(self, dialog: ReadingDialog, choice: Choice) -> None:
        why, text = say("models.no_card_means"), ""
        try:
            look = choice.look or await self._context.discovery.look(choice.offer)
            text = await self._context.discovery.card(look)
        except UserError as error:
            why = str(error)
        if isValid(dialog):
            if text.strip():
                dialog.show_markdown(text)
            else:
                dialog.show_nothing(say("models.no_card"), why)

    async def _open_page(self, choice: Choice) -> None:
        QDesktopServices.openUrl(QUrl(await self._context.discovery.page(choice.sources[0])))


def _is_for(item: Item, choice: Choice) -> bool:
    """Of the same repository, or of the same package, and of several files the same one."""
    record = item.record
    if not choice.sources:
        return not record.sources and record.name == choice.offer.name
    ids = {source.id.lower() for source in choice.sources}
    file = choice.file if choice.is_one_of_several or record.file else ""
    return any(source.id.lower() in ids for source in record.sources) and record.file in ("", file)
