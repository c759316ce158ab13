"""Everything the window's pages are given: settings and services, made once, closed in reverse.

Invariant: the only "global" of the program, and it is an argument. Making it opens nothing: the database is opened by
the first call into the store, the worker by the first job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from app.services.chat import ChatService
from app.services.datasets import DatasetService
from app.services.discovery import DiscoveryService
from app.services.downloads import DownloadService
from app.services.estimates import Estimates
from app.services.finetune_draft import FinetuneDraft
from app.services.form_trial import FormTrial
from app.services.hub_access import HubAccess
from app.services.inference import InferenceService, ModelState
from app.services.library import LibraryService
from app.services.preferences import Preferences
from app.services.profiling import ProfilingService
from app.services.profiling_wish import Wish
from app.services.remote.engines import RemoteService
from app.services.request_log import RequestLog
from app.services.secrets import Secrets
from app.services.server_key import ServerKey
from app.services.server_setup import ServerSetup
from app.services.serving import ServingService, served_adapters
from app.services.training import TrainingService
from core import paths, store
from core.chat.turns import ReplyFigures
from core.store.records import MeasuredMemory
from core.store.store import Store

if TYPE_CHECKING:
    from core.store.store import Session


class AppContext:
    def __init__(self, preferences: Preferences) -> None:
        self.preferences = preferences
        self.secrets = Secrets()
        self.store = Store(paths.database())
        self.library = LibraryService(preferences.models_folder, proxy=lambda: preferences.settings.proxy)
        self.remote = RemoteService(preferences, self.secrets)
        self.inference = InferenceService(
            self.library.files_of,
            options=preferences.load_options,
            keep_loaded_s=lambda: 60.0 * preferences.settings.keep_loaded_minutes,
            remote=self.remote,
        )
        self.form_trial = FormTrial(self.inference)
        self.hub_access = HubAccess(preferences, self.secrets)
        self.downloads = DownloadService(self.store, self.library, self.hub_access.now)
        self.discovery = DiscoveryService(self.hub_access)
        self.estimates = Estimates()
        self.chat = ChatService(self.store, self.inference)
        self._add_server()
        self.datasets = DatasetService(self.store)
        self.training = TrainingService(self.store, self.library)
        self.profiling = ProfilingService(self.store, self.library)
        self.finetune_draft = FinetuneDraft(self.datasets, self.library, self.inference, self.training.speed)
        self._in_use: set[str] = set()  # the model in memory, and the adapter it answers with
        self._noting: set[asyncio.Task[None]] = set()
        self.inference.changed.listen(self._on_model)
        self.inference.answered.listen(self._on_answer)
        # What pages that were rebuilt shall still hold: a new chat's draft (None: none has been begun), the text of the
        # tokenizer page, the views of the models, the fine-tune and the profiler page, and a table not begun yet.
        self.new_chat_draft: str | None = None
        self.tokenizer_text: str | None = None
        self.models_view = ""
        self.finetune_view = ""  # "wizard", or the id of a run
        self.profiler_view = ""  # "new", "runs", or the number of a table
        self.profiling_wish = Wish()

    def _add_server(self) -> None:
        """It shares the model that chat has loaded."""
        self.serving = ServingService(self.inference, lambda: served_adapters(self.library))
        self.requests = RequestLog(self.serving)
        key = ServerKey(self.secrets)
        self.server = ServerSetup(self.preferences, key, self.library, self.inference, self.serving)

    def _on_model(self, state: ModelState) -> None:
        """When a model or an adapter was used last is the store's to remember."""
        in_use = {state.name, state.adapter} - {""} if state.phase == "ready" else set()
        for name in in_use - self._in_use:
            self._note(self._note_use(name))
        self._in_use = in_use

    def _on_answer(self, told: tuple[ModelState, ReplyFigures]) -> None:
        """What a model really took is the store's to remember."""
        state, figures = told
        if state.loaded is None or not figures.memory_bytes:
            return
        loaded, tokens = state.loaded, figures.prompt_tokens + figures.new_tokens
        measured = MeasuredMemory(figures.memory_bytes, tokens, loaded.weights, loaded.kv_cache, loaded.device)
        self._note(self.store.call(lambda s: store.models.note_memory(s, state.name, measured)))

    def _note(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="note model")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _note_use(self, name: str) -> None:
        folder = str(self.library.find(name).folder)

        def work(s: Session) -> None:
            store.models.remember(s, name, folder)
            store.models.note_use(s, name)

        await self.store.call(work)

    async def close(self) -> None:
        """Replies are stopped and saved, the server is closed, workers ended, then the database closed."""
        await self.chat.close()
        await self.remote.close()
        await self.serving.stop()
        await self.downloads.close()
        await self.discovery.close()
        await self.training.close()
        await self.profiling.close()
        await self.finetune_draft.close()
        await self.datasets.close()
        await self.library.close()
        await self.form_trial.close()
        await self.inference.close()
        if self._noting:
            await asyncio.wait(self._noting)
        await self.store.close()
