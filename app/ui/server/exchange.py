"""Asked before a model that other programs are served with leaves the memory.

Invariant: without a yes it stays, and what needed its place says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QApplication, QWidget

from app.ui import aio
from app.ui.models.consent import Question
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window


async def may_exchange(window: Window, context: AppContext, model: str) -> bool:
    """Whether `model` may take the place of the one that is served, or be loaded anew in another way."""
    served = context.inference.state.name
    about = {"name": model, "served": served, "address": context.serving.state.address}
    again = model == served
    title = say("server_ui.reload_title" if again else "server_ui.exchange_title", **about)
    words = [say("server_ui.reload_means" if again else "server_ui.exchange_means", **about)]
    verb = say("server_ui.reload_now" if again else "server_ui.exchange_now", **about)
    if not await _asked(window, context, title, words, verb):
        return False
    if context.server.settings.model:  # it was chosen by name, and so is its successor
        context.server.change(model=model)
    return True


async def may_unload(window: Window, context: AppContext) -> bool:
    """Whether the model may be given back: yes where nobody is served."""
    if not context.serving.is_busy:
        return True
    about = {"served": context.serving.state.model, "address": context.serving.state.address}
    title, words = say("server_ui.unload_title", **about), [say("server_ui.unload_means", **about)]
    if not await _asked(window, context, title, words, say("server_ui.unload_now")):
        return False
    await context.serving.stop()
    return True


async def _asked(window: Window, context: AppContext, title: str, words: list[str], verb: str) -> bool:
    if count := len(context.serving.state.live):
        words.append(say("server_ui.under_way", count=count))
    parent: QWidget = QApplication.activeModalWidget() or window
    dialog = Question(parent, title, " ".join(words), verb)
    return await aio.ask(dialog) == Question.DialogCode.Accepted
