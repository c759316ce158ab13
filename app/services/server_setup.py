"""How the user wants the server: which model, where it listens, with which key; and opening it like that.

Invariant: what other machines can reach is never opened without a key; the key is not among the settings.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import msgspec

from app.services import addresses
from app.services.addresses import Reach
from app.services.inference import InferenceService
from app.services.library import LibraryService
from app.services.preferences import Preferences
from app.services.server_key import ServerKey
from app.services.serving import ServerOptions, ServingService
from core.errors import UserError
from core.settings import ServerSettings

log = logging.getLogger("serving")

Why = Literal["loaded", "last", "first", "none"]
HERE, EVERYWHERE = "127.0.0.1", "0.0.0.0"


class ServerSetup:
    """
    Attributes:
        key: ServerKey
        reach: of this machine, as it was at the last opening or look
    """

    def __init__(
        self,
        preferences: Preferences,
        key: ServerKey,
        library: LibraryService,
        inference: InferenceService,
        serving: ServingService,
    ) -> None:
        self.key, self.reach = key, Reach()
        self._preferences, self._library = preferences, library
        self._inference, self._serving = inference, serving

    @property
    def settings(self) -> ServerSettings:
        return self._preferences.settings.server

    def change(self, **values: object) -> None:
        """Kept at once; in force from the next opening."""
        self._preferences.change(server=msgspec.structs.replace(self.settings, **values))

    @property
    def has_key(self) -> bool:
        """Whether clients have to send one."""
        return self.settings.needs_key or self.settings.on_network

    @property
    def host(self) -> str:
        return EVERYWHERE if self.settings.on_network else HERE

    async def model(self) -> str:
        """The one chosen, else as by itself; "" where there is none."""
        chosen = self.settings.model
        return chosen if chosen in await self._names() else (await self.by_itself())[0]

    async def by_itself(self) -> tuple[str, Why]:
        """The one in memory, else the one chat answered with last, else any; and which of these it is."""
        names, state = await self._names(), self._inference.state
        loaded = (state.adapter, state.name) if state.phase != "none" else ()
        for name in loaded:
            if name in names:
                return name, "loaded"
        last = self._preferences.settings.last_model
        return (last, "last") if last in names else (names[0], "first") if names else ("", "none")

    async def _names(self) -> list[str]:
        return [one.manifest.name for one in await self._library.installed() if not one.is_gone]

    async def options(self) -> ServerOptions:
        return self._options((await self.key.need(),) if self.has_key else ())

    def _options(self, keys: tuple[str, ...]) -> ServerOptions:
        return ServerOptions(self.host, self.settings.port, keys, self.settings.origins, self.settings.names)

    def is_in_force(self) -> bool:
        """Whether it is open as it is set up now. A key that was renewed is another one."""
        keys = (self.key.value,) if self.has_key else ()
        return self._options(keys) == self._serving.options and not self._is_other_model()

    def _is_other_model(self) -> bool:
        chosen = self.settings.model
        if not chosen or chosen == self._serving.state.model:
            return False
        try:
            return bool(self._library.find(chosen))  # one that was removed is no longer wanted
        except UserError:
            return False

    async def look(self) -> None:
        """Learn by which addresses this machine can be reached."""
        self.reach = await asyncio.to_thread(addresses.reach)

    async def open(self) -> str:
        """The address.

        Raises:
            UserError: model_unknown_first; as ServingService.start.
        """
        model = await self.model()
        if not model:
            raise UserError("serve_no_model")
        await self.look()
        return await self._serving.start(model, await self.options())

    async def reopen(self) -> str:
        """As it is set up now. Raises as open()."""
        await self._serving.stop()
        return await self.open()

    async def open_at_start(self) -> None:
        """Where the user wants that. What keeps it closed stands in the state of the service, for the window to say."""
        if not self.settings.at_start or self._serving.is_busy:
            return
        try:
            await self.open()
        except UserError as error:
            log.info("the server was not opened at the start: %s", error)
