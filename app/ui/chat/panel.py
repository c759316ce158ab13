"""The chat page: conversations, transcript with composer, inspector. Joins the widgets with the chat service.

Invariant: it holds no words of its own; what is shown comes from the service, what the user does goes to it. A new
chat exists only here until its first message is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QStackedWidget, QWidget
from shiboken6 import isValid

from app.services.installed import Installed, Wanted
from app.ui import aio, shortcuts
from app.ui.chat.actions import Actions
from app.ui.chat.empty import EmptyChat
from app.ui.chat.inspector import Inspector
from app.ui.chat.model_chip import ModelChip
from app.ui.chat.model_choice import ModelChoice
from app.ui.chat.news import News
from app.ui.chat.notices import NoticeArea, StandingNotice
from app.ui.chat.sidebar import Sidebar
from app.ui.tokens import Size, Space
from app.ui.transcript.view import TranscriptView
from app.ui.why import why
from app.ui.widgets.button import IconButton
from app.ui.widgets.composer import Composer
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import Elided, Line, column, pane, row
from core.chat.turns import Sampling
from core.errors import UserError
from core.store.records import Conversation, Message
from core.translation import say

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window
    from core.store.conversations import Choices

STARTER = "starter"
LATEST = 100  # messages of a long conversation that are shown at once


class ChatPanel(QWidget):
    """
    Attributes:
        conversation: the one in view; None for a new chat that has no message yet
        messages: its branch in view
        choice: the model that answers
        is_open: what was in view last time has been read
    """

    def __init__(self, window: Window, context: AppContext) -> None:
        super().__init__()
        self.window_, self.context, self.chat = window, context, context.chat
        self.conversation: Conversation | None = None
        self.messages: list[Message] = []
        self.choice = ModelChoice(self)
        self.is_open = False
        self._system_prompt, self._sampling = "", Sampling()
        self._views_begun = 0
        self.news = News(self)
        self._wide = True
        self._starter_trouble = ""
        self._whole = row(gap=0)
        self.setLayout(self._whole)
        self._beginning = aio.spawn(self._begin(), "open chat")

    # --- layout --------------------------------------------------------------------

    def _steps(self) -> Iterator[None]:
        """The page in pieces: Qt's classes cost most when they are first touched, and no frame shall wait for all."""
        self.sidebar = Sidebar()
        self._rail = Line(vertical=True)
        self._whole.addWidget(self.sidebar)
        self._whole.addWidget(self._rail)
        yield
        self.transcript = TranscriptView()
        self.empty = EmptyChat()
        yield
        self.composer = Composer()
        self.setFocusProxy(self.composer.box)
        self._lay_out()
        yield
        self.inspector = Inspector()
        self._edge = Line(vertical=True)
        self._whole.addWidget(self._edge)
        self._whole.addWidget(self.inspector)
        self.adapt(self._wide)
        yield
        self.actions_ = Actions(self)
        self._wire()
        self.actions_.bind()

    def _lay_out(self) -> None:
        self._title = Elided("", "heading")
        self.model_chip = ModelChip(_with_key("load"))
        self.model_chip.clicked.connect(self.choice.ask_load)
        self._export = IconButton("share", _with_key("export"), size=Size.CONTROL)
        self._toggle = IconButton("panel", _with_key("inspector"), size=Size.CONTROL)
        self._toggle.setCheckable(True)
        self._toggle.clicked.connect(lambda _: self._show_inspector())
        head = row(self._title, self.model_chip, Space.XS, self._export, self._toggle, gap=Space.XS)
        head.setStretch(0, 1)
        head.setContentsMargins(Space.XL, 0, Space.M, 0)
        bar = pane(head)
        bar.setFixedHeight(Size.PAGE_HEADER)
        self.model_chip.share(bar)
        self.standing, self.passing = StandingNotice(), NoticeArea()
        self._views = QStackedWidget()
        self._views.addWidget(self.empty)
        self._views.addWidget(self.transcript)
        self.composer.setMaximumWidth(Size.READING)
        foot = row(self.composer)
        foot.setContentsMargins(Space.XL, 0, Space.XL, Space.L)
        whole = column(bar, self.standing, self._views, self.passing, foot, gap=0)
        whole.setStretch(2, 1)
        self._whole.addWidget(pane(whole, "surface"), 1)

    def _wire(self) -> None:
        self.news.listen()
        self.sidebar.opened.connect(lambda id_, message: aio.spawn(self.open(id_, message), "open conversation"))
        self.sidebar.new_asked.connect(self.new_chat)
        self.sidebar.searched.connect(lambda words: aio.spawn(self._search(words), "search"))
        self.sidebar.asked.connect(self.actions_.for_conversation)
        self.sidebar.import_asked.connect(self.actions_.ask_import)
        self.transcript.asked.connect(self.actions_.for_message)
        self.transcript.edited.connect(self.actions_.edit)
        self.composer.submitted.connect(self.send)
        self.composer.draft_changed.connect(self._on_draft_changed)
        self.composer.stopped.connect(self.actions_.stop)
        self.composer.model_clicked.connect(self.choice.open_menu)
        self.composer.meter.clicked.connect(lambda: self.reveal("context"))
        self.composer.think_toggled.connect(self._on_think_toggled)
        self.inspector.configured.connect(self._on_configured)
        self.inspector.context.explain_asked.connect(lambda: self.window_.explain("context_lengths"))
        self._export.clicked.connect(self.actions_.export_menu)
        self.empty.fetch_asked.connect(self.fetch_starter)
        self.empty.cancel_asked.connect(lambda: aio.spawn(self._cancel_starter(), "cancel starter"))
        self.empty.models_asked.connect(lambda: self.window_.go("models"))
        self.empty.example_chosen.connect(self._take_example)

    def adapt(self, wide: bool) -> None:
        self._wide = wide
        if hasattr(self, "inspector"):
            self._toggle.setChecked(wide)
            self._show_inspector()

    def leave(self) -> None:
        self._beginning.cancel()
        if self.is_open:
            self.inspector.flush()
            if self.conversation is None:
                self.context.new_chat_draft = self.composer.draft  # "" too: a new chat was in view
            self.keep_draft()
        self.news.stop()

    def _show_inspector(self) -> None:
        self.inspector.setVisible(self._toggle.isChecked())
        self._edge.setVisible(self._toggle.isChecked())

    def toggle_inspector(self) -> None:
        self._toggle.click()

    def reveal(self, place: str) -> None:
        """Show the inspector: "context" scrolls to how full the context is, anything else to its head."""
        if not hasattr(self, "inspector"):
            return  # the page is still being built
        if not self._toggle.isChecked():
            self._toggle.click()
        self.inspector.reveal(place)

    def toggle_list(self) -> None:
        shown = self.sidebar.isHidden()
        self.sidebar.setVisible(shown)
        self._rail.setVisible(shown)

    def export_place(self) -> QPoint:
        """Where the menu of the export button opens."""
        return self._export.mapToGlobal(QPoint(0, self._export.height()))

    # --- what is in view -------------------------------------------------------------

    async def _begin(self) -> None:
        for _ in self._steps():
            await asyncio.sleep(0)
        await self.choice.read()
        summaries = await self.chat.conversations()
        if not isValid(self):
            return  # the page was built anew meanwhile
        current = self.chat.last_opened
        if current is None and summaries and self.context.new_chat_draft is None:
            current = summaries[0].id
        if current and any(summary.id == current for summary in summaries):
            await self.open(current)
        else:
            self.new_chat()
        self.is_open = True
        if self.isVisible():
            self.setFocus()
        self.refresh_list()

    def new_chat(self, model: str = "") -> None:
        """An empty page with the settings of the last conversation; nothing is stored yet. What was typed here before
        is still there, and a reply under way elsewhere goes on."""
        self._views_begun += 1
        self.keep_draft()
        self.inspector.flush()
        self.conversation, self.messages = None, []
        self.chat.last_opened = None
        self.choice.name = model or self.choice.name
        self.transcript.show_branch([])
        self.composer.set_busy(False)
        self.composer.set_draft(self.context.new_chat_draft or "")
        self.show_all()
        self.composer.box.setFocus()
        self.sidebar.list.choose(None)

    def start_with(self, model: str) -> None:
        """The models page asks for a chat with this model."""
        self.choice.name = model
        if self.is_open:
            self.new_chat(model)
        else:
            self.chat.last_opened = 0  # no conversation: the page opens on a new chat

    async def open(self, conversation_id: int, message_id: int = 0) -> None:
        self._views_begun += 1
        asked = self._views_begun
        keeping = self.keep_draft()
        self.inspector.flush()
        if keeping is not None:
            await asyncio.wait([keeping])  # the conversation that is opened may be this very one
        latest = 0 if message_id else LATEST
        opened = await self.chat.open(conversation_id, message_id, latest=latest)
        if asked != self._views_begun:  # the user has gone elsewhere meanwhile
            self.chat.last_opened = self.conversation.id if self.conversation else None
            return
        self.conversation, self.messages = opened.conversation, opened.messages
        self.transcript.show_branch(self.messages)
        self.composer.set_busy(conversation_id in self.chat.streaming())
        self.composer.set_draft(opened.conversation.draft)
        self.show_all()
        self.sidebar.list.choose(conversation_id)
        if message_id:
            self.transcript.jump_to(message_id)
        elif len(self.messages) == LATEST:
            await asyncio.sleep(0)  # the last messages are painted before the others are fetched
            await self._show_whole(conversation_id)

    async def _show_whole(self, conversation_id: int) -> None:
        """The rest of a long conversation, above what is shown."""
        opened = await self.chat.open(conversation_id)
        if self.is_in_view(conversation_id):
            self.messages = opened.messages
            self.transcript.show_branch(self.messages)

    def show_all(self) -> None:
        """Everything around the transcript, from what is in view now."""
        conversation = self.conversation
        self._title.setText(conversation.title if conversation else say("chat.new_chat"))
        self._export.setEnabled(conversation is not None)
        if conversation is not None:
            self.inspector.show_conversation(conversation)
            self._system_prompt, self._sampling = conversation.system_prompt, conversation.sampling
            self.choice.name = conversation.model or self.choice.name
            self.choice.thinking = conversation.thinking
        self.inspector.show_reply(self.last_reply())
        self.show_model()
        self.show_views()

    def show_views(self) -> None:
        """The transcript, or what stands in its place while there is nothing to show."""
        transfers = self.context.library.transfers
        if self.messages:
            self._views.setCurrentWidget(self.transcript)
            return
        self._views.setCurrentWidget(self.empty)
        if STARTER in transfers and not self.choice.names:
            self.empty.show_transfer(transfers[STARTER])
        elif self.choice.names:
            self.empty.show_first_question()
        else:
            self.empty.show_no_model()

    def show_model(self) -> None:
        """The model that answers, wherever the page names it, and its context."""
        self.choice.show()
        self.news.show_context()

    @property
    def models(self) -> list[Installed]:
        """What is on this machine."""
        return self.choice.models

    def is_in_view(self, conversation_id: int) -> bool:
        return self.conversation is not None and self.conversation.id == conversation_id

    def last_reply(self) -> Message | None:
        return next((message for message in reversed(self.messages) if message.role == "assistant"), None)

    def last_question(self) -> Message | None:
        return next((message for message in reversed(self.messages) if message.role == "user"), None)

    def refresh_list(self) -> None:
        if not self.sidebar.search.text().strip():
            aio.spawn(self._load_list(), "conversations")

    async def _load_list(self) -> None:
        summaries = await self.chat.conversations()
        if not isValid(self):
            return  # the page was built anew meanwhile
        current = self.conversation.id if self.conversation else None
        self.sidebar.show_list(summaries, self.chat.streaming(), current)
        if self.conversation is not None:
            title = next((row.title for row in summaries if row.id == current), self.conversation.title)
            self._title.setText(title)

    async def _search(self, words: str) -> None:
        if not words:
            await self._load_list()
            return
        hits = await self.chat.search(words, limit=500)
        if isValid(self) and self.sidebar.search.text().strip() == words:  # the user may have typed on
            self.sidebar.show_hits(hits)

    # --- what the user does --------------------------------------------------------------

    def send(self, words: str) -> None:
        aio.spawn(self._send(words), "send")

    async def _send(self, words: str) -> None:
        if not self.choice.is_there:
            self.composer.set_draft(words)
            self.choice.open_menu()
            return
        self.inspector.flush()
        conversation, asked, choice = self.conversation, self._views_begun, self.choice
        if conversation is None:
            conversation = await self.chat.create(
                choice.name, self._system_prompt, self._sampling, thinking=choice.thinking
            )
            if asked == self._views_begun:  # the user has not gone elsewhere meanwhile
                self.conversation = conversation
                self.chat.last_opened = conversation.id
        is_sent = await self.guarded(self.chat.send(conversation.id, words))
        if not is_sent and asked == self._views_begun and not self.composer.draft:
            self.composer.set_draft(words)

    async def guarded(self, work: object) -> bool:
        """A verb of the service; its error stands above the composer until the next verb. Whether there was none."""
        self.passing.clear()
        try:
            await work  # type: ignore[misc]
        except UserError as error:
            self.passing.tell(Banner("bad", str(error), "", *why(self.window_, error.code)))
            return False
        return True

    def configure(self, **choices: Unpack[Choices]) -> None:
        """Keep a choice with the conversation; a new chat has none yet."""
        if self.conversation is not None:
            aio.spawn(self._configure(**choices), "configure")

    async def _configure(self, **choices: Unpack[Choices]) -> None:
        if self.conversation is not None:
            self.conversation = await self.chat.configure(self.conversation.id, **choices)
            if isValid(self):
                self.show_model()

    def _on_configured(self, system_prompt: str, sampling: Sampling) -> None:
        self._system_prompt, self._sampling = system_prompt, sampling
        self.configure(system_prompt=system_prompt, sampling=sampling)

    def _on_think_toggled(self, on: bool) -> None:
        if on != self.choice.thinks():
            self.choice.thinking = on
            self.configure(thinking=self.choice.thinking)

    def _take_example(self, words: str) -> None:
        self.composer.box.setPlainText(words)
        self.composer.box.setFocus()

    def _on_draft_changed(self, words: str) -> None:
        """A new chat is no conversation yet: what is typed there is kept here."""
        if self.conversation is None:
            self.context.new_chat_draft = words

    def keep_draft(self) -> asyncio.Task[None] | None:
        """Empty the box; what stood in it stays with its conversation."""
        conversation, words = self.conversation, self.composer.draft
        self.composer.set_draft("")
        if conversation is None or words == conversation.draft:
            return None
        return aio.spawn(self.chat.save_draft(conversation.id, words), "draft")

    def fetch_starter(self) -> None:
        aio.spawn(self._fetch_starter(), "fetch starter")

    async def _fetch_starter(self) -> None:
        try:
            await self.context.downloads.add(Wanted(STARTER))
        except UserError as error:
            self.empty.show_error(error)

    async def _cancel_starter(self) -> None:
        item = self.context.downloads.find(STARTER)
        if item is not None:
            await self.context.downloads.cancel(item.id)
        else:
            self.context.library.cancel(STARTER)

    def show_starter_trouble(self) -> None:
        """Why the starter does not come, above the offer to try again; once for each attempt."""
        item = self.context.downloads.find(STARTER)
        error = item.error() if item is not None and item.state in ("failed", "waiting") else None
        if error is not None and str(error) != self._starter_trouble and not self.models:
            self.empty.show_error(error)
        self._starter_trouble = str(error) if error is not None else ""


def _with_key(action: str) -> str:
    """The name of a button with its key."""
    return f"{say(f'chat.{action}')}  {shortcuts.keys('chat', action)}"
