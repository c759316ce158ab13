"""The chat page: conversations, transcript with composer, inspector. Joins the widgets with the chat service.

Invariant: it holds no words of its own; what is shown comes from the service, what the user does goes to it. A new
chat exists only here until its first message is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Unpack

from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.services.inference import ModelState
from app.services.library import Installed
from app.services.replies import PromptSeen, ReplyEnded, ReplyGrew, ReplyProgress
from app.ui import aio, shortcuts
from app.ui.chat.actions import Actions
from app.ui.chat.context_view import ContextUse
from app.ui.chat.empty import EmptyChat
from app.ui.chat.inspector import Inspector
from app.ui.chat.model_chip import ModelChip
from app.ui.chat.model_choice import ModelChoice
from app.ui.chat.notices import NoticeArea, StandingNotice
from app.ui.chat.sidebar import Sidebar
from app.ui.tokens import Size, Space
from app.ui.transcript.view import TranscriptView
from app.ui.widgets.button import Button, IconButton
from app.ui.widgets.composer import Composer
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import Elided, Line, column, pane, row
from core.chat.turns import Sampling
from core.errors import UserError
from core.protocol.messages import Progress, PromptRead
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
        self._prompts: dict[int, PromptRead] = {}  # by the message they were read for
        self._wide = True
        self._ends: list[Callable[[], None]] = []
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
        chat, context = self.chat, self.context
        self._ends = [
            chat.list_changed.listen(lambda _: self.refresh_list()),
            chat.branch_changed.listen(self._on_branch_changed),
            chat.reply_grew.listen(self._on_reply_grew),
            chat.reply_ended.listen(self._on_reply_ended),
            chat.reply_progress.listen(self._on_reply_progress),
            chat.prompt_seen.listen(self._on_prompt_seen),
            context.library.changed.listen(lambda _: self._on_library_changed()),
            context.inference.changed.listen(self._on_model_changed),
        ]
        self.sidebar.opened.connect(lambda id_, message: aio.spawn(self.open(id_, message), "open conversation"))
        self.sidebar.new_asked.connect(self.new_chat)
        self.sidebar.searched.connect(lambda words: aio.spawn(self._search(words), "search"))
        self.sidebar.asked.connect(self.actions_.for_conversation)
        self.sidebar.import_asked.connect(self.actions_.ask_import)
        self.transcript.asked.connect(self.actions_.for_message)
        self.transcript.edited.connect(self.actions_.edit)
        self.composer.submitted.connect(self.send)
        self.composer.stopped.connect(self.actions_.stop)
        self.composer.model_clicked.connect(self.choice.open_menu)
        self.composer.meter.clicked.connect(lambda: self.reveal("context"))
        self.composer.think_toggled.connect(self._on_think_toggled)
        self.inspector.configured.connect(self._on_configured)
        self.inspector.context.explain_asked.connect(lambda: self.window_.explain("context_lengths"))
        self._export.clicked.connect(self.actions_.export_menu)
        self.empty.fetch_asked.connect(self.fetch_starter)
        self.empty.cancel_asked.connect(lambda: context.library.cancel(STARTER))
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
                self.context.new_chat_draft = self.composer.draft
            self._keep_draft()
        for end in self._ends:
            end()

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
        draft, self.context.new_chat_draft = self.context.new_chat_draft, None
        current = self.chat.last_opened
        if current is None and summaries and draft is None:
            current = summaries[0].id
        if current and any(summary.id == current for summary in summaries):
            await self.open(current)
        else:
            self.new_chat()
            self.composer.set_draft(draft or "")
        self.is_open = True
        self.composer.box.setFocus()
        self.refresh_list()

    def new_chat(self, model: str = "") -> None:
        """An empty page with the settings of the last conversation; nothing is stored yet."""
        self._keep_draft()
        self.inspector.flush()
        self.conversation, self.messages = None, []
        self.chat.last_opened = None
        self.choice.name = model or self.choice.name
        self.transcript.show_branch([])
        self._show()
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
        self._keep_draft()
        self.inspector.flush()
        latest = 0 if message_id else LATEST
        opened = await self.chat.open(conversation_id, message_id, latest=latest)
        self.conversation, self.messages = opened.conversation, opened.messages
        self.transcript.show_branch(self.messages)
        self.composer.set_busy(conversation_id in self.chat.streaming())
        self.composer.set_draft(opened.conversation.draft)
        self._show()
        self.sidebar.list.choose(conversation_id)
        if message_id:
            self.transcript.jump_to(message_id)
        elif len(self.messages) == LATEST:
            await asyncio.sleep(0)  # the last messages are painted before the others are fetched
            await self._show_whole(conversation_id)

    async def _show_whole(self, conversation_id: int) -> None:
        """The rest of a long conversation, above what is shown."""
        opened = await self.chat.open(conversation_id)
        if self._is_in_view(conversation_id):
            self.messages = opened.messages
            self.transcript.show_branch(self.messages)

    def _show(self) -> None:
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
        self._show_views()

    def _show_views(self) -> None:
        transfers = self.context.library.transfers
        if self.messages:
            self._views.setCurrentWidget(self.transcript)
            return
        self._views.setCurrentWidget(self.empty)
        if STARTER in transfers and not self.models:
            self.empty.show_transfer(transfers[STARTER])
        elif self.models:
            self.empty.show_first_question()
        else:
            self.empty.show_no_model()

    def show_model(self) -> None:
        """The model that answers, wherever the page names it, and its context."""
        self.choice.show()
        self._show_context()

    def _show_context(self) -> None:
        known = (m.figures for m in reversed(self.messages) if m.figures and m.figures.prompt_tokens)
        figures = next(known, None)
        used = figures.prompt_tokens + figures.new_tokens if figures else 0
        self._show_use(used, figures.context_length if figures else 0)

    def _show_use(self, used: int, limit: int) -> None:
        loaded, reply = self.choice.loaded(), self.last_reply()
        prompt = self._prompts.get(reply.id) if reply else None
        use = ContextUse(
            used,
            (loaded.context_length if loaded else 0) or limit,
            loaded.trained_length if loaded else 0,
            ntk=loaded is not None and loaded.ntk,
            logn=loaded is not None and loaded.logn,
            alpha=prompt.ntk_alpha if prompt else 0.0,
            dropped=prompt.dropped_turns if prompt else 0,
        )
        self.inspector.context.show_use(use)
        self.composer.meter.show_use(used, use.limit if used else 0, use.warning())

    @property
    def models(self) -> list[Installed]:
        """What is on this machine."""
        return self.choice.models

    def last_reply(self) -> Message | None:
        return next((message for message in reversed(self.messages) if message.role == "assistant"), None)

    def last_question(self) -> Message | None:
        return next((message for message in reversed(self.messages) if message.role == "user"), None)

    def refresh_list(self) -> None:
        if not self.sidebar.search.text().strip():
            aio.spawn(self._load_list(), "conversations")

    async def _load_list(self) -> None:
        summaries = await self.chat.conversations()
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
        if self.sidebar.search.text().strip() == words:  # the user may have typed on
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
        if self.conversation is None:
            choice = self.choice
            made = await self.chat.create(choice.name, self._system_prompt, self._sampling, thinking=choice.thinking)
            self.conversation = made
            self.chat.last_opened = made.id
        await self.guarded(self.chat.send(self.conversation.id, words))

    async def guarded(self, work: object) -> None:
        """A verb of the service; its error stands above the composer until the next verb."""
        self.passing.clear()
        try:
            await work  # type: ignore[misc]
        except UserError as error:
            self.passing.tell(Banner("bad", str(error)))

    def configure(self, **choices: Unpack[Choices]) -> None:
        """Keep a choice with the conversation; a new chat has none yet."""
        if self.conversation is not None:
            aio.spawn(self._configure(**choices), "configure")

    async def _configure(self, **choices: Unpack[Choices]) -> None:
        if self.conversation is not None:
            self.conversation = await self.chat.configure(self.conversation.id, **choices)
            self.show_model()

    def _on_configured(self, system_prompt: str, sampling: Sampling) -> None:
        self._system_prompt, self._sampling = system_prompt, sampling
        self.configure(system_prompt=system_prompt, sampling=sampling)

    def _on_think_toggled(self, on: bool) -> None:
        if on != (self.choice.thinking is not False):
            self.choice.thinking = None if on else False
            self.configure(thinking=self.choice.thinking)

    def _take_example(self, words: str) -> None:
        self.composer.set_draft(words)
        self.composer.box.setFocus()

    def _keep_draft(self) -> None:
        if self.conversation is not None:
            words = self.composer.draft
            if words != self.conversation.draft:
                aio.spawn(self.chat.save_draft(self.conversation.id, words), "draft")
        self.composer.box.clear()

    def fetch_starter(self) -> None:
        aio.spawn(self._fetch_starter(), "fetch starter")

    async def _fetch_starter(self) -> None:
        try:
            await self.context.library.fetch(STARTER)
        except UserError as error:
            self.empty.show_error(error)

    # --- what the services say -------------------------------------------------------------

    def _is_in_view(self, conversation_id: int) -> bool:
        return self.conversation is not None and self.conversation.id == conversation_id

    def _on_branch_changed(self, conversation_id: int) -> None:
        self.refresh_list()
        if self._is_in_view(conversation_id):
            aio.spawn(self._reload(conversation_id), "branch")

    async def _reload(self, conversation_id: int) -> None:
        opened = await self.chat.open(conversation_id)
        if self._is_in_view(conversation_id):
            self.conversation, self.messages = opened.conversation, opened.messages
            self.transcript.show_branch(self.messages)
            is_answering = conversation_id in self.chat.streaming()
            self.composer.set_busy(is_answering)
            if is_answering:
                self.transcript.go_to_end()
            self._show()

    def _on_reply_grew(self, news: ReplyGrew) -> None:
        if self._is_in_view(news.conversation_id):
            self.transcript.grow(news.message_id, news.text, news.thinking)

    def _on_reply_progress(self, news: ReplyProgress) -> None:
        if self._is_in_view(news.conversation_id):
            self.transcript.wait_with(news.message_id, _loading_words(news.progress))

    def _on_prompt_seen(self, news: PromptSeen) -> None:
        self._prompts[news.message_id] = news.prompt
        if self._is_in_view(news.conversation_id):
            self._show_use(news.prompt.prompt_tokens, 0)

    def _on_reply_ended(self, news: ReplyEnded) -> None:
        self.refresh_list()
        if self._is_in_view(news.conversation_id):
            self.composer.set_busy(False)
            self.messages = [news.message if old.id == news.message.id else old for old in self.messages]
            self.transcript.end_reply(news.message)
            self.inspector.show_reply(self.last_reply())
            self._show_context()

    def _on_library_changed(self) -> None:
        self._show_views()
        aio.spawn(self._load_models(), "models")

    async def _load_models(self) -> None:
        await self.choice.read()
        self.show_model()
        self._show_views()

    def _on_model_changed(self, state: ModelState) -> None:
        self.show_model()
        if not state.is_responsive:
            end = Button(say("chat.end_it"), "secondary")
            end.clicked.connect(self.context.inference.kill)
            self.passing.tell(Banner("warn", say("chat.not_responding"), "", end))


def _loading_words(progress: Progress) -> str:
    """Why a reply has not begun yet."""
    stage = say(f"progress.{progress.stage}") if progress.stage else say("chat.waiting")
    return f"{stage} {progress.done / progress.total:.0%}" if progress.total else stage


def _with_key(action: str) -> str:
    """The name of a button with its key."""
    return f"{say(f'chat.{action}')}  {shortcuts.keys('chat', action)}"
