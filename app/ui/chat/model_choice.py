"""Which model answers: the menu of models and adapters, also of other machines, the chips that name it, and what is to
be said about it.

Invariant: the name chosen here is the conversation's; what is in memory is the inference service's to know, and both
are shown as what they are. An adapter is answered with by its base.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint

from app.services.inference import ModelState
from app.services.installed import Installed, by_base
from app.ui.chat.notices import PROMPT_NOTICES, QUIET_NOTICES
from app.ui.model_words import loaded_words, notice_words
from app.ui.why import why_button
from app.ui.widgets.feedback import Banner
from app.ui.widgets.menu import Menu
from core.protocol.messages import ModelLoaded
from core.translation import say

if TYPE_CHECKING:
    from app.ui.chat.panel import ChatPanel


class ModelChoice:
    """
    Attributes:
        name: the model or adapter that answers next
        models: what is on this machine, adapters after their base
        thinking: None leaves it to the model
    """

    def __init__(self, panel: ChatPanel) -> None:
        self._panel = panel
        self.name = panel.context.preferences.settings.last_model
        self.models: list[Installed] = []
        self.thinking: bool | None = None
        self._told: ModelLoaded | None = panel.context.inference.state.loaded

    @property
    def names(self) -> list[str]:
        """Of all that can answer, those of other machines last."""
        return [*(model.manifest.name for model in self.models), *self._panel.context.remote.names]

    @property
    def is_remote(self) -> bool:
        return self._panel.context.remote.find(self.name) is not None

    def remote_length(self) -> int:
        """Of the context of a remote model in tokens, 0 where its machine does not say."""
        found = self._panel.context.remote.find(self.name)
        return found[1].context_length if found else 0

    @property
    def is_there(self) -> bool:
        return self.name in self.names or self.is_remote

    def chosen(self) -> Installed | None:
        return next((model for model in self.models if model.manifest.name == self.name), None)

    def base(self) -> Installed | None:
        """The model that is loaded for the chosen one: itself, or what the adapter belongs to."""
        chosen = self.chosen()
        if chosen is None or not chosen.manifest.base:
            return chosen
        return next((model for model in self.models if model.manifest.name == chosen.manifest.base), None)

    def loaded(self) -> ModelLoaded | None:
        """What is known of it since it was loaded, if it is the one in memory."""
        base, loaded = self.base(), self._panel.context.inference.state.loaded
        return loaded if base is not None and loaded is not None and loaded.name == base.manifest.name else None

    async def read(self) -> None:
        self.models = by_base(await self._panel.context.library.installed())

    # --- shown -----------------------------------------------------------------------

    def show(self) -> None:
        """Everything on the page that depends on the model."""
        panel = self._panel
        if not self.is_there and self.names and not panel.conversation:
            self.name = self.names[0]
        loaded, can_chat = self.loaded(), self._can_chat()
        panel.composer.show_model(self.name if self.is_there else "")
        panel.composer.set_hint("" if can_chat else say("chat.base_hint"))
        blocked = "" if self.is_there else say("chat.choose_first" if self.names else "chat.fetch_first")
        panel.composer.set_blocked(blocked)
        panel.composer.show_thinking(self.thinks())
        self._show_chip(loaded)
        self._show_notices(loaded, can_chat)

    def thinks(self) -> bool | None:
        """Whether the next reply begins with thinking; None where that cannot be chosen, or is not known yet."""
        if self.is_remote:
            can_choose = self.thinking is not None or self._panel.context.remote.can_think(self.name)
            return self.thinking is not False if can_choose else None
        kind = loaded.thinking if (loaded := self.loaded()) is not None else "none"
        return {"switch": self.thinking is not False, "asked": self.thinking is True}.get(kind)

    def _can_chat(self) -> bool:
        base, loaded = self.base(), self.loaded()
        if loaded is not None:
            return loaded.can_chat
        return base is None or base.manifest.can_chat

    def _show_chip(self, loaded: ModelLoaded | None) -> None:
        base = self.base()
        chip = self._panel.model_chip
        chip.setVisible(base is not None or self.is_remote)
        if self.is_remote:
            chip.show_model(self.name, "", say("remote.chip"))
        if base is not None:
            adapter = self.name if base.manifest.name != self.name else ""
            remarks = [notice_words(notice) for notice in loaded.notices] if loaded else []
            state = loaded_words(loaded) if loaded else say("chat.not_loaded")
            chip.show_model(base.manifest.name, adapter, state, remarks)

    def _show_notices(self, loaded: ModelLoaded | None, can_chat: bool) -> None:
        panel = self._panel
        panel.passing.clear()
        if self.name and not self.is_there and panel.conversation:
            gone = "error.remote_gone" if "/" in self.name else "chat.model_gone"
            panel.passing.tell(Banner("warn", say(gone, name=self.name)))
        panel.standing.show_for(self.name, "" if can_chat else "base", "info", why_button(panel.window_, "base_model"))
        found = loaded.notices if loaded else ()
        panel.inspector.show_prompt_remark(
            "\n".join(notice_words(notice) for notice in found if notice.code in PROMPT_NOTICES)
        )

    def tell_remarks(self, state: ModelState) -> None:
        """Once for each loading: what came otherwise than asked for is offered in a toast."""
        loaded = state.loaded if state.phase == "ready" else None
        if loaded is None or loaded is self._told or not self._panel.isVisible():
            return
        self._told = loaded
        if any(notice.code not in QUIET_NOTICES for notice in loaded.notices):
            words = say("chat.loaded_remarks", name=loaded.name)
            show = partial(self._panel.window_.ask_load, loaded.name, see_loaded=True)
            self._panel.window_.notify("info", words, say("chat.show"), show)

    # --- chosen ----------------------------------------------------------------------

    def open_menu(self) -> None:
        """Bases with their adapters beneath them, then what other machines have, above the chip of the message box."""
        panel = self._panel
        menu = Menu(panel)
        for model in self.models:
            facts = model.manifest
            words = say("chat.adapter_entry", name=facts.name) if facts.base else facts.name
            menu.add(words, partial(self.take, facts.name), "check" if facts.name == self.name else "")
        if remote := panel.context.remote.names:
            menu.head(say("remote.title"))
            for name in remote:
                menu.add(name, partial(self.take, name), "check" if name == self.name else "")
        if self.names:
            menu.addSeparator()
        if self.base() is not None:
            menu.add(say("load.open"), self.ask_load, "settings")
        menu.add(say("chat.get_models"), lambda: panel.window_.go("models"), "download")
        menu.add(say("remote.other_machine"), panel.window_.ask_remote, "globe")
        chip = panel.composer.model
        menu.popup(chip.mapToGlobal(QPoint(0, -menu.sizeHint().height())))

    def take(self, name: str) -> None:
        """Answer with this model or adapter from now on."""
        panel = self._panel
        self.name = name
        panel.context.preferences.change(last_model=name)
        panel.configure(model=name)
        panel.show_model()

    def ask_load(self) -> None:
        """How the model shall be loaded; of one that is loaded elsewhere, how it is reached."""
        if self.is_remote:
            self._panel.window_.ask_remote()
        elif (base := self.base()) is not None:
            self._panel.window_.ask_load(base.manifest.name)
