"""The whole window in this process, offscreen, with the real services and a model worker without a model."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEvent

from app.context import AppContext
from app.services.chat import ChatService
from app.services.finetune_draft import FinetuneDraft
from app.services.inference import InferenceService
from app.services.preferences import Preferences
from app.ui.garbage import Garbage
from app.ui.window import Window
from core import paths, translation
from tests.helpers import fake_model
from tests.helpers.window import application


class LiveContext(AppContext):
    """As the program makes it, but for the workers: of models, and where it is asked for of the library and of runs."""

    def __init__(
        self,
        preferences: Preferences,
        library: Sequence[str] = (),
        training: Callable[[Path], Sequence[str]] | None = None,
        models: Sequence[str] = fake_model.ARGV,
    ) -> None:
        super().__init__(preferences)
        self.training._argv = training or self.training._argv
        self.library._argv = library or self.library._argv
        self.inference = InferenceService(
            self.library.files_of, options=preferences.load_options, argv=models, remote=self.remote
        )
        self.inference.changed.listen(self._on_model)
        self.inference.answered.listen(self._on_answer)
        self.chat = ChatService(self.store, self.inference)
        self._add_server()
        self.finetune_draft = FinetuneDraft(self.datasets, self.library, self.inference, self.training.speed)


@asynccontextmanager
async def live(
    width: int = 1440,
    height: int = 900,
    *,
    library: Sequence[str] = (),
    training: Callable[[Path], Sequence[str]] | None = None,
    models: Sequence[str] = fake_model.ARGV,
) -> AsyncIterator[tuple[Window, AppContext]]:
    """A window with its services; both are gone afterwards. Only on qasync. library, training, models: commands of
    workers."""
    app = application()
    garbage = Garbage(app)  # as in the program: no other thread may collect what belongs to Qt
    preferences = Preferences()
    paths.models().mkdir(parents=True, exist_ok=True)
    window = Window(app, preferences)
    window.resize(width, height)
    window.show()
    context = LiveContext(preferences, library, training, models)
    window.attach(context)
    try:
        yield window, context
    finally:
        window.close()
        await settle(3)  # what the pages had begun
        await context.close()
        await settle()
        window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        garbage.stop()
        gc.collect()
        translation.use("en")
        application()


async def settle(turns: int = 10) -> None:
    """Layout requests climb one level per turn of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0.01)
