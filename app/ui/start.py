"""The window's start and end, in order.

1. settings and language, QApplication, the one-window lock; 2. log and session file; 3. theme and the bare window: the
first paint; 4. only then the services and the chat page, the database behind its first call, the worker's imports in
its own process. On the way down: replies saved, workers ended, database closed, session file removed. Invariant: before
the first paint neither the store nor Markdown nor a plot is imported.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication, QIcon
from PySide6.QtWidgets import QApplication

from app import crash
from app.services.preferences import Preferences
from app.ui import aio, theme
from app.ui.garbage import Garbage
from app.ui.single import SingleWindow
from app.ui.window import Window
from core import log, paths, translation
from core.settings import TEXT_SCALES, Settings

if TYPE_CHECKING:
    from app.context import AppContext

Guide = Callable[[Window, "AppContext"], Awaitable[None]]


def make_application() -> QApplication:
    """The one QApplication, named so that desktops find our entry and icon."""
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("qwen-workbench")
    app.setApplicationDisplayName("Qwen Workbench")
    QGuiApplication.setDesktopFileName("qwen-workbench")
    app.setWindowIcon(QIcon(str(paths.resources() / "icons" / "qwen-workbench.svg")))
    return app


def apply_look(app: QApplication, settings: Settings) -> None:
    """Language, theme, text size and motion as the settings say."""
    chosen = settings.language
    translation.use(translation.system_language() if chosen == "system" else chosen)
    theme.state.reduced_motion = settings.less_motion
    theme.apply(app, settings.theme, TEXT_SCALES[settings.text_size])


def open_window(on_painted: Callable[[Window], None] | None = None, guide: Guide | None = None) -> int:
    """Run the program until its window is closed; the exit code.

    `guide` drives the window once it is alive, as a user would (the tour, the screenshots), and closes it at its end.
    """
    preferences = Preferences()
    app = make_application()
    single = SingleWindow(paths.home())
    if not single.acquire():
        return 0
    log.start(paths.logs())
    previous = crash.left_behind()
    session = crash.Session()
    session.begin()
    crash.install(session)
    apply_look(app, preferences.settings)
    window = Window(app, preferences)
    garbage = Garbage(app)
    if on_painted is not None:
        window.painted.connect(partial(on_painted, window))
    single.raised.connect(window.come_forward)
    window.show()
    try:
        return aio.run(app, _live(window, previous, guide))
    finally:
        garbage.stop()
        session.end()
        single.release()
        log.stop()


async def _live(window: Window, previous: crash.Crash | None, guide: Guide | None) -> int:
    """From the first paint to the last saved word."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, window.close)
    await window.until_painted()
    context = await asyncio.to_thread(_make_context, window.preferences)
    window.attach(context)
    if previous is not None:
        from app.ui.crash_dialog import CrashDialog

        aio.spawn(aio.ask(CrashDialog(window, previous)), "crash report")
    aio.spawn(_prepare(context), "prepare")
    if guide is not None:
        aio.spawn(_be_guided(window, context, guide), "guide")
    await window.until_closed()
    await context.close()
    return 0


def _make_context(preferences: Preferences) -> AppContext:
    """The services, and the modules of the first page: imported beside the window, which stays awake."""
    import app.ui.chat.panel  # noqa: F401
    from app.context import AppContext

    return AppContext(preferences)


def _import_pages() -> None:
    """The pages that were not visited yet, so that the first visit only builds."""
    import app.ui.help_page
    import app.ui.load.dialog
    import app.ui.models.consent
    import app.ui.models.discover
    import app.ui.models.downloads
    import app.ui.models.offer_actions
    import app.ui.models.page
    import app.ui.server.page
    import app.ui.settings.machine
    import app.ui.settings.page
    import app.ui.settings.preferences
    import app.ui.tokenizer.page
    import app.ui.training_run.page  # noqa: F401


async def _be_guided(window: Window, context: AppContext, guide: Guide) -> None:
    try:
        await guide(window, context)
    finally:
        window.close()


async def _prepare(context: AppContext) -> None:
    """What may follow the first paint: replies of a killed program marked, downloads gone on with, runs at work found,
    the worker's imports under way."""
    from app.ui.transcript.warm import warm_up

    warm_up()
    await context.chat.recover()
    await context.downloads.open()
    await context.training.open()
    await asyncio.to_thread(context.library.tidy)
    await asyncio.to_thread(_import_pages)
    if await context.library.installed():
        await context.inference.warm()
        await context.server.open_at_start()
