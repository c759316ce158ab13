"""The way of a model from a click to the queue: what has to be asked first, then one more download.

Invariant: nothing is in the queue before every question was answered with yes; without a network the catalogue's
models can be asked for all the same and wait for it in the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from app.services.badges import FORMS, Form
from app.services.discovery import Look, Offer
from app.services.installed import Wanted
from app.ui.models import consent
from core.sources import Source

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

MADE: tuple[Form, ...] = ("int8", "int4")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the details pane says when its button is pressed.

    sources: in the order they shall be asked; file: of several GGUF files; base: of an adapter, the model it belongs
    to; called: its name in the library, where the one it would have is another model's
    """

    offer: Offer
    look: Look | None
    form: Form
    sources: tuple[Source, ...]
    file: str = ""
    base: str = ""
    called: str = ""

    @property
    def is_one_of_several(self) -> bool:
        return bool(self.file) and self.look is not None and len(self.look.needed.choices) > 1

    @property
    def wished(self) -> str:
        """The repository's, of one GGUF file among others the file's."""
        return PurePosixPath(self.file).stem if self.is_one_of_several else self.offer.name

    @property
    def name(self) -> str:
        """In the library."""
        return self.called or self.wished

    @property
    def total_bytes(self) -> int:
        if self.look is not None and self.look.total_bytes:
            return self.look.total_bytes
        return self.offer.entry.download_bytes if self.offer.entry is not None else 0


async def fetch(window: Window, context: AppContext, choice: Choice) -> bool:
    """Whether it is in the queue now.

    Raises:
        UserError: as DownloadService.add; hub_*, when the hub has to be asked something.
    """
    look = choice.look
    is_pickle = look is not None and look.needed.kind == "pickle"
    if not await consent.accept_licence(window, context, choice.offer, look):
        return False
    if look is not None and look.repository.gated:
        source = look.repository.source
        has_token = await context.discovery.has_token(source.place)
        if not has_token and not await consent.accept_terms(window, context, source):
            return False
    if is_pickle and not await consent.accept_pickle(window, choice.offer):
        return False
    wanted = Wanted(choice.name, choice.sources, choice.file, choice.base, convert_pickle=is_pickle)
    item = await context.downloads.add(wanted, choice.total_bytes)
    if choice.form in MADE:  # what the badge promised shall be so when it is loaded
        preferences = context.preferences
        options = msgspec.structs.replace(preferences.load_options(item.record.name), weights=FORMS[choice.form])
        preferences.choose_load_options(item.record.name, options)
    return True
