"""The model that is loaded for chatting gives its memory to a fine-tune: asked first, in words with numbers.

Invariant: nothing is unloaded without a yes, and after a no nothing has changed. On a card there is no training beside
it, since a card serves one job at a time; in the machine's memory there may be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from app.services import fitting, gpu_lease, machine
from app.services.training_plan import free_for
from app.ui import aio
from app.ui.models.consent import Question
from app.ui.widgets.button import Button
from core import figures
from core.errors import UserError
from core.training.recipe import Recipe
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

T = TypeVar("T")
Answer = Literal["unload", "beside", "no"]
BESIDE = 2  # after Qt's own: rejected, accepted


async def begin(
    window: Window, context: AppContext, recipe: Recipe, needed: int, work: Callable[[], Awaitable[T]]
) -> T | None:
    """What `work` gives, which starts a run that takes so many bytes; None when the person would rather not.

    Raises:
        UserError: as work does.
    """
    room = fitting.room(await machine.read())
    free, on_card = free_for(recipe, room), bool(room.card) and recipe.device != "cpu"
    if context.inference.state.phase == "ready" and needed > fitting.TIGHT_FROM * free:
        sizes = {"needed": figures.size(needed), "free": figures.size(free)}
        words = say("finetune_ui.room_missing", held=_held(context), **sizes)
        answer = await _asked(window, context, words, may_stay=not on_card)
        if answer == "no":
            return None
        if answer == "unload":
            await _unload(context, needed)
    try:
        return await work()
    except UserError as error:
        if error.code != "gpu_in_use_chat" or error.params["name"] != context.inference.state.name:
            raise
        words = say("finetune_ui.room_on_card", held=error.params["size"])
    if await _asked(window, context, words, may_stay=False) != "unload":
        return None
    await _unload(context, needed)
    return await work()


async def _asked(window: Window, context: AppContext, words: str, *, may_stay: bool) -> Answer:
    beside = Button(say("finetune_ui.room_beside"), "ghost")
    title = say("finetune_ui.chat_loaded", name=context.inference.state.name)
    if context.serving.is_busy:
        words = f"{words} {say('server_ui.room_served')}"
    dialog = Question(window, title, words, say("finetune_ui.room_unload"), *([beside] if may_stay else []))
    beside.clicked.connect(lambda: dialog.done(BESIDE))
    found = await aio.ask(dialog)
    return "beside" if found == BESIDE else "unload" if found == Question.DialogCode.Accepted else "no"


async def _unload(context: AppContext, needed: int) -> None:
    await context.serving.stop()
    await context.inference.unload()
    await gpu_lease.until_free(needed)
    await context.finetune_draft.measure()


def _held(context: AppContext) -> str:
    loaded = context.inference.state.loaded
    return figures.size(loaded.weight_bytes) if loaded is not None else "?"
