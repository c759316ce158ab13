"""Everything the window's pages are given: settings and services, made once, closed in reverse.

Invariant: the only "global" of the program, and it is an argument. Making it opens nothing: the database is opened by
the first call into the store, the worker by the first job.
"""

from __future__ import annotations

from app.services.chat import ChatService
from app.services.inference import InferenceService
from app.services.library import LibraryService
from app.services.preferences import Preferences
from app.services.secrets import Secrets
from core import paths
from core.store.store import Store


class AppContext:
    def __init__(self, preferences: Preferences) -> None:
        self.preferences = preferences
        self.secrets = Secrets()
        self.store = Store(paths.database())
        self.library = LibraryService(preferences.models_folder, proxy=preferences.settings.proxy)
        self.inference = InferenceService(
            lambda name: self.library.find(name).files_folder,
            keep_loaded_s=lambda: 60.0 * preferences.settings.keep_loaded_minutes,
        )
        self.chat = ChatService(self.store, self.inference)
        self.new_chat_draft: str | None = None  # of a chat page that was rebuilt while it showed a new chat

    async def close(self) -> None:
        """Replies are stopped and saved, workers ended, then the database closed."""
        await self.chat.close()
        await self.library.close()
        await self.inference.close()
        await self.store.close()
