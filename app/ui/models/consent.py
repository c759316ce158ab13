"""What a person is asked before a model is fetched: its licence, the hub's terms, weights in a form that can hold code.

Invariant: each question is asked once and says what the answer does; a no changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QDialog, QWidget
from shiboken6 import isValid

from app.services import consent
from app.services.discovery import Look, Offer
from app.ui import aio
from app.ui.models.offer_words import licence_words, place_words
from app.ui.models.reading import ReadingDialog
from app.ui.settings.token_dialog import TokenDialog
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.layout import column, label, row
from core.errors import UserError
from core.sources import Place, Source
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

WIDTH = 520


class Question(QDialog):
    """A few sentences and what can be done. The primary button's verb says what happens."""

    def __init__(self, parent: QWidget, title: str, words: str, verb: str, *actions: Button) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        cancel = Button(say("kit.cancel"), "secondary")
        cancel.clicked.connect(self.reject)
        self.go = Button(verb, "primary")
        self.go.clicked.connect(self.accept)
        lines = column(label(title, "heading", wrap=True), label(words, "body", "soft", wrap=True), gap=Space.M)
        if actions:
            lines.addLayout(row(*actions, None, gap=Space.S))
        lines.addSpacing(Space.S)
        lines.addLayout(row(None, cancel, self.go, gap=Space.S))
        lines.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.L)
        self.setLayout(lines)
        self.setFixedWidth(WIDTH)
        self.adjustSize()


async def accept_licence(window: Window, context: AppContext, offer: Offer, look: Look | None) -> bool:
    """Whether its licence is free, was accepted before, or is accepted now."""
    wanted = consent.to_accept(offer, look)
    accepted = context.preferences.settings.accepted_licences
    if not wanted or wanted in accepted:
        return True
    accept = Button(say("discover.licence_accept"), "primary", "check")
    title = say("discover.licence_title", licence=licence_words(consent.licence_of(offer, look)), name=offer.name)
    dialog = ReadingDialog(window, title, consent.licence_link(offer, look), [accept])
    accept.clicked.connect(dialog.accept)
    filling = aio.spawn(_fill_licence(dialog, context, offer, look), "licence")
    try:
        if await aio.ask(dialog) != QDialog.DialogCode.Accepted:
            return False
    finally:
        filling.cancel()
    now = context.preferences.settings.accepted_licences
    context.preferences.change(accepted_licences=tuple(dict.fromkeys((*now, wanted))))
    return True


async def show_licence(window: Window, context: AppContext, offer: Offer, look: Look | None) -> None:
    """Only to read."""
    title = say("discover.licence_title", licence=licence_words(consent.licence_of(offer, look)), name=offer.name)
    dialog = ReadingDialog(window, title, consent.licence_link(offer, look))
    filling = aio.spawn(_fill_licence(dialog, context, offer, look), "licence")
    try:
        await aio.ask(dialog)
    finally:
        filling.cancel()


async def _fill_licence(dialog: ReadingDialog, context: AppContext, offer: Offer, look: Look | None) -> None:
    text, why = "", say("discover.licence_none_means")
    if look is not None:
        try:
            text = await context.discovery.licence_text(look)
        except UserError as error:
            why = str(error)
    else:
        why = say("discover.licence_offline")
    page = await context.discovery.page(offer.sources[0]) if offer.sources and not text else ""
    if not isValid(dialog):
        return
    if text:
        dialog.show_plain(text)
    else:
        dialog.show_nothing(say("discover.licence_none"), why, page)


async def accept_terms(window: Window, context: AppContext, source: Source) -> bool:
    """The hub wants its own terms accepted there, and a token of that account. True when there is one now."""
    link = await context.discovery.page(source)
    open_ = Button(say("discover.open_page"), "secondary", "external")
    open_.setToolTip(link)
    open_.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(link)))
    enter = Button(say("discover.enter_token"), "secondary", "key")
    hub = place_words(source.place)
    title, words = say("discover.gated_title", hub=hub), say("discover.gated_means", id=source.id, hub=hub)
    dialog = Question(window, title, words, say("discover.try_now"), open_, enter)
    dialog.go.setEnabled(await context.discovery.has_token(source.place))
    enter.clicked.connect(lambda: aio.spawn(_enter_token(window, context, source.place, dialog), "token"))
    return await aio.ask(dialog) == QDialog.DialogCode.Accepted


async def _enter_token(window: Window, context: AppContext, place: Place, dialog: Question) -> None:
    asked = TokenDialog(dialog, place, await asyncio.to_thread(lambda: context.secrets.has_keyring))
    if await aio.ask(asked) == QDialog.DialogCode.Accepted:
        kept = await asyncio.to_thread(context.secrets.set, place, asked.token)
        code = "token_forgotten" if not asked.token else "token_kept" if kept else "token_in_memory"
        window.notify("ok", say(f"settings.{code}"))
        if isValid(dialog):
            dialog.go.setEnabled(bool(asked.token))
            dialog.go.setFocus(Qt.FocusReason.TabFocusReason)


async def accept_pickle(window: Window, offer: Offer) -> bool:
    """Its weights lie in pickle files only."""
    words = say("discover.pickle_means", name=offer.name)
    dialog = Question(window, say("discover.pickle_title"), words, say("discover.pickle_convert"))
    return await aio.ask(dialog) == QDialog.DialogCode.Accepted
