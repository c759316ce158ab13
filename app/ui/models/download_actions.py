"""What can be done with a download, from its row, from the short list above the tables and from a toast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.services.questions import of_error
from app.ui import aio
from core.errors import UserError
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.models.page import ModelsPage
    from app.ui.window import Window


async def act(window: Window, context: AppContext, action: str, download_id: int, page: ModelsPage) -> None:
    """
    Raises:
        UserError: download_unknown, when it left the list meanwhile.
    """
    downloads = context.downloads
    item = next((item for item in downloads.items if item.id == download_id), None)
    if item is None:
        raise UserError("download_unknown")
    if action == "pause_or_go_on":
        action = "pause" if item.state in ("running", "waiting") else "resume"
    match action:
        case "pause":
            await downloads.pause(download_id)
        case "resume" | "retry":
            await downloads.resume(download_id)
        case "earlier" | "later":
            await downloads.move(download_id, -1 if action == "earlier" else 1)
        case "chat":
            page.actions_.chat_with(item.record.name)
        case "why":
            error = item.error()
            if error is not None and of_error(error.code):
                window.explain(of_error(error.code))
        case "cancel":
            undo = lambda: aio.spawn(page.guarded(downloads.resume(download_id)), "undo cancel")  # noqa: E731
            window.notify("info", say("downloads.cancelled", name=item.record.name), say("chat.undo"), undo)
            page.cancelled.append(download_id)
            await downloads.cancel(download_id)
        case _:
            pass


async def undo_cancel(context: AppContext, cancelled: list[int]) -> None:
    """Go on with the last one of these that is still taken out."""
    out = {item.id for item in context.downloads.items if item.state == "cancelled"}
    while cancelled:
        if (last := cancelled.pop()) in out:
            await context.downloads.resume(last)
            return
