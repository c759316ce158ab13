"""What the services tell the chat page: replies that grow and end, prompts that were read, models and branches that
changed; and what follows for how full the context is.

Invariant: only what belongs to the conversation in view reaches the widgets; the rest is found in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shiboken6 import isValid

from app.services import questions
from app.services.inference import ModelState
from app.services.remote.engines import RemoteNews
from app.services.replies import PromptSeen, ReplyEnded, ReplyGrew, ReplyProgress
from app.ui import aio
from app.ui.chat.context_view import ContextUse
from app.ui.why import why_button
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import Banner
from core.models.qwen_v1.positions import ntk_alpha
from core.protocol.messages import Progress, PromptRead
from core.store.records import Message
from core.translation import say

if TYPE_CHECKING:
    from app.ui.chat.panel import ChatPanel


class News:
    def __init__(self, panel: ChatPanel) -> None:
        self._panel = panel
        self._ends: list[Callable[[], None]] = []
        self._prompts: dict[int, PromptRead] = {}  # by the message they were read for

    def listen(self) -> None:
        chat, context = self._panel.chat, self._panel.context
        self._ends = [
            chat.list_changed.listen(lambda _: self._panel.refresh_list()),
            chat.branch_changed.listen(self._on_branch_changed),
            chat.reply_grew.listen(self._on_reply_grew),
            chat.reply_ended.listen(self._on_reply_ended),
            chat.reply_progress.listen(self._on_reply_progress),
            chat.prompt_seen.listen(self._on_prompt_seen),
            context.library.changed.listen(lambda _: self._on_library_changed()),
            context.library.progressed.listen(lambda _: self._panel.show_views()),
            context.downloads.changed.listen(lambda _: self._panel.show_starter_trouble()),
            context.inference.changed.listen(self._on_model_changed),
            context.remote.changed.listen(lambda _: self._show_choice()),
            context.remote.noticed.listen(self._on_remote_news),
        ]

    def stop(self) -> None:
        for end in self._ends:
            end()

    # --- replies -----------------------------------------------------------------------

    def _on_branch_changed(self, conversation_id: int) -> None:
        self._panel.refresh_list()
        if self._panel.is_in_view(conversation_id):
            aio.spawn(self._reload(conversation_id), "branch")

    async def _reload(self, conversation_id: int) -> None:
        panel = self._panel
        opened = await panel.chat.open(conversation_id)
        if isValid(panel) and panel.is_in_view(conversation_id):
            panel.conversation, panel.messages = opened.conversation, opened.messages
            panel.transcript.show_branch(panel.messages)
            is_answering = conversation_id in panel.chat.streaming()
            panel.composer.set_busy(is_answering)
            if is_answering:
                panel.transcript.go_to_end()
            panel.show_all()

    def _on_reply_grew(self, news: ReplyGrew) -> None:
        if self._panel.is_in_view(news.conversation_id):
            self._panel.transcript.grow(news.message_id, news.text, news.thinking)

    def _on_reply_progress(self, news: ReplyProgress) -> None:
        if self._panel.is_in_view(news.conversation_id):
            self._panel.transcript.wait_with(news.message_id, _loading_words(news.progress))

    def _on_prompt_seen(self, news: PromptSeen) -> None:
        self._prompts[news.message_id] = news.prompt
        if self._panel.is_in_view(news.conversation_id) and news.prompt.prompt_tokens:
            self._show_use(news.prompt.prompt_tokens, 0)

    def _on_reply_ended(self, news: ReplyEnded) -> None:
        panel = self._panel
        panel.refresh_list()
        if panel.is_in_view(news.conversation_id):
            panel.composer.set_busy(False)
            panel.messages = [news.message if old.id == news.message.id else old for old in panel.messages]
            panel.transcript.end_reply(news.message)
            panel.inspector.show_reply(panel.last_reply())
            self.show_context()
            if news.message.error_code in questions.MEMORY:
                self._offer_less_memory(news.message)

    def _offer_less_memory(self, reply: Message) -> None:
        """A reply that had no memory can often be had with other load options. One that was broken off does not say
        itself what ended it."""
        is_broken_off = reply.state == "interrupted"
        why, help_ = say(f"error.{reply.error_code}", **reply.error_params), say("chat.memory_short")
        change = Button(say("load.open"), "secondary", "chip", small=True)
        change.clicked.connect(self._panel.choice.ask_load)
        more = why_button(self._panel.window_, "memory")
        told = (why, help_) if is_broken_off else (help_, "")
        self._panel.passing.tell(Banner("warn", *told, more, change))

    # --- the context -------------------------------------------------------------------

    def show_context(self) -> None:
        """As the last reply left it."""
        known = (m.figures for m in reversed(self._panel.messages) if m.figures and m.figures.prompt_tokens)
        figures = next(known, None)
        used = figures.prompt_tokens + figures.new_tokens if figures else 0
        self._show_use(used, figures.context_length if figures else 0)

    def _show_use(self, used: int, limit: int) -> None:
        panel = self._panel
        loaded, reply = panel.choice.loaded(), panel.last_reply()
        if panel.choice.is_remote:
            limit = panel.choice.remote_length()
            panel.inspector.context.show_unknown("" if limit else say("remote.context_unknown"))
        else:
            panel.inspector.context.show_unknown("")
        prompt = self._prompts.get(reply.id) if reply else None
        trained, ntk = (loaded.trained_length, loaded.ntk) if loaded else (0, False)
        use = ContextUse(
            used,
            (loaded.context_length if loaded else 0) or limit,
            trained,
            ntk=ntk,
            logn=loaded is not None and loaded.logn,
            alpha=prompt.ntk_alpha if prompt else ntk_alpha(used, trained) if ntk else 1.0,
            dropped=prompt.dropped_turns if prompt else 0,
            is_known=used > 0 or not panel.messages,
        )
        panel.inspector.context.show_use(use)
        panel.composer.meter.show_use(used, use.limit if used else 0, use.warning())

    # --- models ------------------------------------------------------------------------

    def _on_library_changed(self) -> None:
        self._panel.show_views()
        aio.spawn(self._load_models(), "models")

    async def _load_models(self) -> None:
        await self._panel.choice.read()
        if isValid(self._panel):  # the page was not built anew meanwhile
            self._show_choice()

    def _show_choice(self) -> None:
        """Other models can be chosen."""
        self._panel.show_model()
        self._panel.show_views()

    def _on_remote_news(self, news: RemoteNews) -> None:
        self._panel.window_.notify("info", say(f"notice.{news.notice.code}", **news.notice.params))

    def _on_model_changed(self, state: ModelState) -> None:
        panel = self._panel
        panel.show_model()
        panel.choice.tell_remarks(state)
        if not state.is_responsive:
            end = Button(say("chat.end_it"), "secondary")
            end.clicked.connect(panel.context.inference.kill)
            panel.passing.tell(Banner("warn", say("chat.not_responding"), "", end))


def _loading_words(progress: Progress) -> str:
    """Why a reply has not begun yet."""
    stage = say(f"progress.{progress.stage}") if progress.stage else say("chat.waiting")
    return f"{stage} {progress.done / progress.total:.0%}" if progress.total else stage
