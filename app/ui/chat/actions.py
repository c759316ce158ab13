"""What can be done on the chat page, each action once: for its key, its button and its menu entry.

Invariant: an action that does not apply now (nothing to stop, no reply to copy) does nothing and harms nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from app.ui import aio, shortcuts
from app.ui.widgets.menu import Menu
from core.translation import say

if TYPE_CHECKING:
    from app.ui.chat.panel import ChatPanel


class Actions:
    def __init__(self, panel: ChatPanel) -> None:
        self._panel = panel
        self._chat = panel.chat
        self._deleted: list[int] = []

    def bind(self) -> None:
        """Every key of the page."""
        panel = self._panel
        table: dict[str, Callable[[], object]] = {
            "new_chat": panel.new_chat,
            "search": panel.sidebar.focus_search,
            "list": panel.toggle_list,
            "inspector": panel.toggle_inspector,
            "next_chat": lambda: panel.sidebar.list.step(1),
            "previous_chat": lambda: panel.sidebar.list.step(-1),
            "rename": panel.sidebar.list.rename_chosen,
            "pin": lambda: self._for_current("pin"),
            "delete": lambda: self._for_current("delete"),
            "undo_delete": self.undo_delete,
            "export": self.export_menu,
            "import": self.ask_import,
            "write": panel.composer.box.setFocus,
            "send": panel.composer.submit,
            "stop": self.stop,
            "model": panel.choice.open_menu,
            "load": panel.choice.ask_load,
            "think": panel.composer.toggle_thinking,
            "latest": panel.transcript.go_to_end,
        }
        for action, verb in (
            ("regenerate", "regenerate"),
            ("continue", "continue"),
            ("copy", "copy"),
            ("branch", "branch"),
            ("previous_version", "previous"),
            ("next_version", "next"),
        ):
            table[action] = partial(self._on_last_reply, verb)
        table["edit"] = self._edit_last
        for action, slot in table.items():
            shortcuts.bind(panel, "chat", action, slot)

    # --- messages ------------------------------------------------------------------

    def _on_last_reply(self, verb: str) -> None:
        if (reply := self._panel.last_reply()) is not None:
            self.for_message(verb, reply.id)

    def _edit_last(self) -> None:
        if (question := self._panel.last_question()) is not None:
            self.for_message("edit", question.id)

    def for_message(self, verb: str, message_id: int) -> None:
        """What a message's button asks for."""
        chat, panel = self._chat, self._panel
        if verb == "copy":
            self._copy(message_id)
        elif verb == "edit":
            panel.transcript.edit(message_id)
        elif verb == "load":
            panel.choice.ask_load()
        elif verb == "branch":
            aio.spawn(self._branch(message_id), "branch")
        elif panel.conversation is None or panel.conversation.id in chat.streaming():
            return
        elif verb in ("regenerate", "continue"):
            panel.composer.box.setFocus()  # the button that was pressed goes
            begin = chat.regenerate if verb == "regenerate" else chat.continue_reply
            aio.spawn(panel.guarded(begin(message_id)), verb)
        elif verb in ("previous", "next"):
            aio.spawn(panel.guarded(chat.switch(message_id, 1 if verb == "next" else -1)), verb)

    def edit(self, message_id: int, words: str) -> None:
        """A changed question becomes a version of its own and is answered."""
        aio.spawn(self._panel.guarded(self._chat.edit(message_id, words)), "edit")
        self._panel.composer.box.setFocus()

    def stop(self) -> None:
        if self._panel.conversation is not None:
            self._chat.stop(self._panel.conversation.id)

    def _copy(self, message_id: int) -> None:
        found = next((message for message in self._panel.messages if message.id == message_id), None)
        if found is not None:
            QGuiApplication.clipboard().setText(found.text)
            self._panel.window_.notify("ok", say("chat.copied"))

    async def _branch(self, message_id: int) -> None:
        made = await self._chat.branch(message_id)
        await self._panel.open(made.id)
        self._panel.window_.notify("ok", say("chat.branched"))

    # --- conversations ----------------------------------------------------------------

    def _for_current(self, verb: str) -> None:
        if self._panel.conversation is not None:
            self.for_conversation(verb, self._panel.conversation.id, "")

    def for_conversation(self, verb: str, conversation_id: int, words: str) -> None:
        """What a row of the list asks for."""
        if verb == "rename":
            aio.spawn(self._chat.rename(conversation_id, words), verb)
        elif verb == "pin":
            aio.spawn(self._chat.toggle_pin(conversation_id), verb)
        elif verb == "delete":
            aio.spawn(self._delete(conversation_id), verb)
        elif verb == "export":
            self.export_menu(conversation_id)

    async def _delete(self, conversation_id: int) -> None:
        panel = self._panel
        if panel.is_in_view(conversation_id) and (keeping := panel.keep_draft()) is not None:
            await asyncio.wait([keeping])  # for the offer to undo it
        gone = await self._chat.delete(conversation_id)
        self._deleted.append(conversation_id)
        if panel.conversation is not None and panel.conversation.id == conversation_id:
            panel.conversation = None
            panel.new_chat()
        panel.window_.notify("info", say("chat.deleted", title=gone.title), say("chat.undo"), self.undo_delete)

    def undo_delete(self) -> None:
        if self._deleted:
            aio.spawn(self._restore(self._deleted.pop()), "undo delete")

    async def _restore(self, conversation_id: int) -> None:
        await self._chat.undo_delete(conversation_id)
        await self._panel.open(conversation_id)

    # --- files --------------------------------------------------------------------------

    def export_menu(self, conversation_id: int = 0) -> None:
        """The two forms of a file, at the export button."""
        panel = self._panel
        chosen = conversation_id or (panel.conversation.id if panel.conversation else 0)
        if chosen:
            menu = Menu(panel)
            for form in ("markdown", "json"):
                menu.add(say(f"chat.export_{form}"), partial(self._start_export, chosen, form))
            menu.popup(panel.export_place())

    def _start_export(self, conversation_id: int, form: str) -> None:
        aio.spawn(self._export(conversation_id, form), "export")

    async def _export(self, conversation_id: int, form: str) -> None:
        panel = self._panel
        write = self._chat.export_markdown if form == "markdown" else self._chat.export_json
        text = await write(conversation_id)
        suffix = "md" if form == "markdown" else "json"
        dialog = QFileDialog(panel.window_, say("chat.save_as"), str(Path.home()), say(f"chat.{form}_files"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(suffix)
        dialog.selectFile(f"{await self._file_name(conversation_id)}.{suffix}")
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            file = Path(dialog.selectedFiles()[0])
            await panel.guarded(self._chat.save_file(file, text))
            panel.window_.notify("ok", say("chat.exported", name=file.name))

    async def _file_name(self, conversation_id: int) -> str:
        opened = await self._chat.open(conversation_id)
        kept = "".join(sign if sign.isalnum() or sign in " -_" else " " for sign in opened.conversation.title)
        return " ".join(kept.split())[:60] or "chat"

    def ask_import(self) -> None:
        aio.spawn(self._import(), "import")

    async def _import(self) -> None:
        panel = self._panel
        dialog = QFileDialog(panel.window_, say("chat.open_file"), str(Path.home()), say("chat.json_files"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        if await aio.ask(dialog) == QFileDialog.DialogCode.Accepted:
            await panel.guarded(self.take_file(Path(dialog.selectedFiles()[0])))

    async def take_file(self, file: Path) -> None:
        """A conversation from our JSON; it is opened."""
        made = await self._chat.import_file(file)
        await self._panel.open(made.id)
        self._panel.window_.notify("ok", say("chat.imported", title=made.title))
