"""This program's own server: how it stands, how it is set up, requests to be pasted, who asks what.

Invariant: everything shown is what the services say now; a verb's error stands in the card of the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from app.services import addresses, vllm_wish
from app.services.installed import by_base
from app.services.serving import address
from app.ui import aio
from app.ui.pacing import Paced
from app.ui.server import words
from app.ui.server.requests_view import RequestsView
from app.ui.server.setup_card import SetupCard
from app.ui.server.snippets import Snippets
from app.ui.server.state_card import StateCard
from app.ui.server.vllm_card import VllmCard
from app.ui.tokens import Space
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner, Skeleton
from app.ui.widgets.layout import Scroll, column, pane, row
from core.errors import UserError
from core.serving.vllm_command import vllm_command
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

EVERY_MS = 200
SIDE = 420


class LocalView(QWidget):
    """
    Signals:
        turned: it opens, is open, or is closed: the button of the page does something else now

    Attributes:
        is_built: all parts are there and filled
    """

    turned = Signal()

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.is_built = False
        self._window, self._context = window, context
        self._serving, self._setup = context.serving, context.server
        self._model, self._free_port, self._wide = "", 0, True
        self._of_models: tuple[str, ...] = ()
        self._was_busy = self._serving.is_busy
        self._ends: list[Callable[[], None]] = []
        self._working: asyncio.Task[None] | None = None
        self._state_wait = Paced(self, EVERY_MS, self._show_state)
        self._log_wait = Paced(self, EVERY_MS, self._show_log)
        self._lay_out()
        self._beginning = aio.spawn(self._begin(), "server page")

    # --- layout --------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self._main, self._side = column(gap=Space.XL), column(gap=Space.XL)
        self._waiting = Skeleton(6)
        self._main.addWidget(self._waiting)
        self._right = pane(column(self._side, None, gap=0))
        self._right.setFixedWidth(SIDE)
        halves = row(pane(column(self._main, None, gap=0)), self._right, gap=Space.XL)
        halves.setStretch(0, 1)
        halves.setContentsMargins(Space.XL, Space.L, Space.XL, Space.XL)
        self.area = Scroll(pane(halves))
        self.setLayout(column(self.area, gap=0))

    def _steps(self) -> Iterator[None]:
        self.state = StateCard()
        self.state.remedy_asked.connect(self._answer_failure)
        self.state.copied.connect(lambda: self._window.notify("ok", say("server_ui.copied"), page=self))
        self.changed = Button(say("server_ui.reopen"), "secondary", "refresh", small=True)
        self.changed.clicked.connect(lambda: self._work(self._setup.reopen(), "reopen server"))
        self.pending = Banner("info", say("server_ui.pending"), say("server_ui.pending_means"), self.changed)
        self.pending.hide()
        self._waiting.hide()
        self._main.addWidget(pane(column(self.state, self.pending, gap=Space.M)))
        self._show_state_card()
        yield
        self.setup = SetupCard(self._setup)
        self._place_setup()
        yield from self.setup.build()
        self.setup.key.renew_asked.connect(self._renew)
        self.setup.key.copied.connect(lambda: self._window.notify("ok", say("server_ui.key_copied"), page=self))
        yield
        self.snippets = Snippets()
        self._main.addWidget(self.snippets)
        yield
        self.requests = RequestsView()
        self.requests.clear_asked.connect(self._context.requests.clear)
        self._main.addWidget(self.requests)
        yield from self.requests.build()
        yield
        self.vllm = VllmCard()
        self.vllm.opened.connect(lambda: aio.spawn(self._write_command(), "vllm command"))
        self._main.addWidget(self.vllm)

    async def _begin(self) -> None:
        for _ in self._steps():
            await asyncio.sleep(0)
        await self._setup.look()
        if not isValid(self):
            return
        self._ends = [
            self._serving.changed.listen(self._state_wait.ask),
            self._context.inference.changed.listen(self._state_wait.ask),
            self._context.requests.changed.listen(self._log_wait.ask),
            self._context.preferences.changed.listen(lambda _: self._ask_all()),
            self._context.library.changed.listen(lambda _: self._ask_all()),
        ]
        self._show_log()
        await asyncio.sleep(0)
        await self._show_all()
        self.is_built = True

    def adapt(self, wide: bool) -> None:
        """The set-up at the side where there is room."""
        self._right.setVisible(wide)
        self._wide = wide
        if hasattr(self, "setup"):
            self._place_setup()

    def _place_setup(self) -> None:
        """At the side, or below the state."""
        if self._wide:
            self._side.addWidget(self.setup)
        else:
            self._main.insertWidget(2, self.setup)  # after what stands in for it and the state

    def leave(self) -> None:
        self._beginning.cancel()
        for end in self._ends:
            end()
        self._state_wait.stop()
        self._log_wait.stop()

    # --- shown ---------------------------------------------------------------------------

    def _ask_all(self) -> None:
        aio.spawn(self._show_all(), "server settings")

    async def _show_all(self) -> None:
        """What depends on the settings, the models and the key."""
        self._model = await self._setup.model()
        by_itself = await self._setup.by_itself()
        models = by_base(await self._context.library.installed())
        if self._setup.has_key:
            await self._setup.key.need()
        if not isValid(self):
            return
        self.setup.show_models(models, *by_itself)
        self.setup.show_settings(self._setup.settings)
        self.setup.key.show_key(self._setup.key.value, is_kept=self._setup.key.is_kept)
        self._show_state()
        if self.vllm.is_open:
            await self._write_command()

    def _show_state(self) -> None:
        state, inference = self._serving.state, self._context.inference.state
        self._show_state_card()
        of_models = (state.model, "" if inference.phase == "none" else inference.name, inference.adapter)
        if of_models != self._of_models:  # another one is in memory: what is served without a choice is another too
            self._of_models = of_models
            self._ask_all()
        self.pending.setVisible(state.phase == "open" and not self._setup.is_in_force())
        self.requests.show_live(state.live)
        self.snippets.show_server(*self._served(), is_open=state.phase == "open")

    def _show_state_card(self) -> None:
        state = self._serving.state
        self.state.show_state(state, self._context.inference.state, self._context.requests)
        reach = self._setup.reach if self._serving.options.host != "127.0.0.1" else None
        self.state.show_addresses(state.address if state.phase == "open" else "", reach)
        self._show_remedy()
        if self._serving.is_busy != self._was_busy:
            self._was_busy = self._serving.is_busy
            self.turned.emit()

    def _show_log(self) -> None:
        self.requests.show_log(self._context.requests)
        self.state.show_state(self._serving.state, self._context.inference.state, self._context.requests)

    def _served(self) -> tuple[str, str, str]:
        """Address, model and key, of the server that is open or of the one that would be opened."""
        state, setup = self._serving.state, self._setup
        if state.phase == "open":
            keys = self._serving.options.keys
            return state.address, state.model, keys[0] if keys else ""
        key = setup.key.value if setup.has_key else ""
        return address(setup.host, setup.settings.port), self._model, key

    async def _write_command(self) -> None:
        _, model, key = self._served()
        try:
            if not model:
                raise UserError("serve_no_model")
            library = self._context.library
            base = library.files_of(model).base
            options = self._context.preferences.load_options(base)
            loaded = self._context.inference.state.loaded
            if loaded is not None and loaded.name == base and not options.context_length:
                options = msgspec.structs.replace(options, context_length=loaded.context_length)
            wish = await vllm_wish.read(library, base, options, key, library.adapters_of(base))
        except UserError as error:
            if isValid(self):
                self.vllm.show_trouble(str(error))
            return
        if isValid(self):
            self.vllm.show_command(vllm_command(wish), key)

    # --- verbs ---------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        return self._serving.is_busy

    def turn(self) -> None:
        """Open it, or close it."""
        if self._serving.is_busy:
            self._work(self._serving.stop(), "close server")
        else:
            self._work(self._setup.open(), "open server")

    def copy_address(self) -> None:
        if self.is_built:
            self.state.copy_address()

    def copy_snippet(self) -> None:
        if self.is_built:
            self.snippets.code.copy()

    def _work(self, verb: object, name: str) -> None:
        if self._working is None or self._working.done():
            self._working = aio.spawn(self._guarded(verb), name)
        else:
            verb.close()  # type: ignore[attr-defined]  # a coroutine that nobody awaits warns

    async def _guarded(self, verb: object) -> None:
        """Its error stands in the state of the service."""
        try:
            await verb  # type: ignore[misc]
        except UserError:
            pass
        if isValid(self):
            self._state_wait.ask()

    def _renew(self) -> None:
        aio.spawn(self._renew_key(), "renew key")

    async def _renew_key(self) -> None:
        await self._setup.key.renew()
        if isValid(self):
            await self._show_all()
            if self._serving.state.phase != "open":
                self._window.notify("ok", say("server_ui.key_renewed_closed"), page=self)
                return
            verb, reopen = say("server_ui.reopen"), self._setup.reopen
            self._window.notify(
                "ok", say("server_ui.key_renewed"), verb, lambda: self._work(reopen(), "reopen server"), self
            )

    # --- failures ------------------------------------------------------------------------

    def _show_remedy(self) -> None:
        error = self._serving.state.error
        if error is None:
            self._free_port = 0
        elif words.remedy(error) != "port":
            self.state.show_remedy(say(f"server_ui.fix_{words.remedy(error)}"))
        elif not self._free_port:
            self.state.show_remedy(say("server_ui.fix_port_search"))
            aio.spawn(self._find_port(), "free port")

    async def _find_port(self) -> None:
        found = await asyncio.to_thread(addresses.free_port, self._setup.host, self._setup.settings.port)
        if isValid(self):
            self._free_port = found
            self.state.show_remedy(say("server_ui.fix_port", port=found) if found else say("server_ui.fix_again"))

    def _answer_failure(self, what: str) -> None:
        if what == "port" and self._free_port:
            self.setup.take_port(self._free_port)
        if what == "models":
            self._window.go("models")
        elif what == "load":
            self._window.ask_load(self._serving.state.model)
        elif what == "origins":
            self.setup.focus_origins()
        else:
            self._work(self._setup.open(), "open server")
