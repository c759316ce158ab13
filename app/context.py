"""Everything the window's pages are given: settings and services, made once, closed in reverse.

Invariant: the only "global" of the program, and it is an argument. Making it opens nothing: the database is opened by
the first call into the store, the worker by the first job.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.services.chat import ChatService
from app.services.inference import InferenceService, ModelState
from app.services.library import LibraryService
from app.services.preferences import Preferences
from app.services.secrets import Secrets
from core import paths, store
from core.store.store import Store

if TYPE_CHECKING:
    from core.store.store import Session


class AppContext:
    def __init__(self, preferences: Preferences) -> None:
        self.preferences = preferences
        self.secrets = Secrets()
        self.store = Store(paths.database())
        self.library = LibraryService(preferences.models_folder, proxy=lambda: preferences.settings.proxy)
        self.inference = InferenceService(
            self.library.files_of,
            options=preferences.load_options,
            keep_loaded_s=lambda: 60.0 * preferences.settings.keep_loaded_minutes,
        )
        self.chat = ChatService(self.store, self.inference)
        self._noted = ""
        self._noting: asyncio.Task[None] | None = None
        self.inference.changed.listen(self._on_model)
        # What pages that were rebuilt shall still hold: a new chat's draft, the text of the tokenizer page.
        self.new_chat_draft: str | None = None
        self.tokenizer_text: str | None = None

    def _on_model(self, state: ModelState) -> None:
        """When a model was used last is the store's to remember."""
        if state.phase == "ready" and state.name != self._noted:
            self._noting = asyncio.get_running_loop().create_task(self._note_use(state.name), name="note use")
        self._noted = state.name if state.phase == "ready" else ""

    async def _note_use(self, name: str) -> None:
        folder = str(self.library.find(name).folder)

        def work(s: Session) -> None:
            store.models.remember(s, name, folder)
            store.models.note_use(s, name)

        await self.store.call(work)

    async def close(self) -> None:
        """Replies are stopped and saved, workers ended, then the database closed."""
        await self.chat.close()
        await self.library.close()
        await self.inference.close()
        if self._noting is not None:
            await asyncio.wait([self._noting])
        await self.store.close()
