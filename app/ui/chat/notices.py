"""Banners of the chat page: what stands above the transcript about the model, and what passes above the message box.

Invariant: an area without a banner takes no room beyond its margins, and one banner stands in it at most.
"""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.ui.tokens import Size, Space
from app.ui.widgets.badge import Tone
from app.ui.widgets.button import IconButton
from app.ui.widgets.feedback import Banner
from app.ui.widgets.layout import column
from core.translation import say

PROMPT_NOTICES = ("system_prompt_weak",)
"""Codes of ModelLoaded whose place is beside the system prompt."""
QUIET_NOTICES = (*PROMPT_NOTICES, "base_model", "not_a_qwen", "code_never_run", "text_only", "context_stretched")
"""Codes that stand elsewhere (beside the prompt, above the transcript, in the details of the model) and need no toast:
what remains is that something was loaded otherwise than asked for."""


class NoticeArea(QWidget):
    """Room for one banner in the column of the transcript. Hidden while empty where `gives_way`."""

    def __init__(self, *, gives_way: bool = False) -> None:
        super().__init__()
        self._gives_way = gives_way
        self._lines = column(gap=0)
        self._lines.setContentsMargins(Space.XL, 0, Space.XL, Space.S)
        self.setLayout(self._lines)
        if gives_way:
            self.hide()

    def tell(self, banner: Banner) -> None:
        """In place of what stood there."""
        self.clear()
        banner.setMaximumWidth(Size.READING)
        self._lines.addWidget(banner)
        self.show()

    def clear(self) -> None:
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        if self._gives_way:
            self.hide()


class StandingNotice(NoticeArea):
    """What is to be known of the chosen model as long as it is chosen. Closed by the user, it stays closed for it."""

    def __init__(self) -> None:
        super().__init__(gives_way=True)
        self._shown = ("", "")
        self._closed: set[tuple[str, str]] = set()

    def show_for(self, model: str, code: str, tone: Tone = "info", *actions: QWidget) -> None:
        """The title and body of `code` (`chat.<code>_title`, `chat.<code>_body`) about `model`; "" shows nothing."""
        subject = (model, code)
        if subject == self._shown:
            return
        self._shown = subject
        if not code or subject in self._closed:
            self.clear()
            return
        close = IconButton("close", say("kit.close"))
        close.clicked.connect(self._close)
        self.tell(Banner(tone, say(f"chat.{code}_title"), say(f"chat.{code}_body"), *actions, close))

    def _close(self) -> None:
        self._closed.add(self._shown)
        self.clear()
