"""A text to read in a window of its own: a model's card, a licence.

Invariant: nothing in it is fetched or run: pictures stay away, links open in the browser, tags are dropped, not obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QDialog, QWidget

from app.ui.tokens import Size, Space, Type
from app.ui.transcript.reply import ReplyBody
from app.ui.widgets.button import Button
from app.ui.widgets.feedback import EmptyState, Skeleton
from app.ui.widgets.layout import Elided, Line, Scroll, column, pane, row
from app.ui.widgets.markdown import SAFE
from app.ui.widgets.prose import Text
from core.translation import say

WIDTH, HEIGHT = 820, 700
_FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"<a\s[^>]*?href=[\"']([^\"']+)[\"'][^>]*>(.*?)</a>", re.DOTALL | re.IGNORECASE)
_PICTURE = re.compile(r"<(img|video|source|picture)\b[^>]*>|!\[[^\]]*\]\([^)]*\)", re.IGNORECASE)
_BREAK = re.compile(r"<(br|/p|/div|/h\d|/li|/tr)\b[^>]*>", re.IGNORECASE)
_HEADING = re.compile(r"<h([1-6])\b[^>]*>", re.IGNORECASE)
_STRONG = re.compile(r"</?(b|strong)>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][\w-]*(\s[^<>]*)?/?>")


def readable(markdown: str) -> str:
    """A card as Markdown alone. Code between fences stays as it is."""
    parts = _FENCE.split(markdown)
    result, in_code = [], False
    for part in parts:
        if part in ("```", "~~~"):
            in_code = not in_code
            result.append(part)
        else:
            result.append(part if in_code else _without_tags(part))
    return "".join(result)


def _without_tags(text: str) -> str:
    text = _PICTURE.sub("", _COMMENT.sub("", text))
    text = re.sub(r"\[\s*\]\([^)]*\)", "", text)  # links whose words were a picture
    text = _LINK.sub(lambda found: f"[{found[2].strip()}]({found[1]})" if found[2].strip() else "", text)
    text = _HEADING.sub(lambda found: f"\n\n{'#' * int(found[1])} ", text)
    text = _TAG.sub("", _BREAK.sub("\n\n", _STRONG.sub("**", text)))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"^[ \t]+(?=\S)(?![-*+]|\d+[.)])", "", text, flags=re.MULTILINE))


class _Sheet(QWidget):
    """The text, no wider than prose, as tall as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.body: ReplyBody | Text | None = None
        self._later = QTimer(self, singleShot=True, interval=0)
        self._later.timeout.connect(self._fit)

    def hold(self, body: ReplyBody | Text) -> None:
        self.body = body
        body.setParent(self)
        body.show()
        if isinstance(body, ReplyBody):
            body.grew.connect(self._later.start)
        self._fit()

    def _fit(self) -> None:
        if self.body is None:
            return
        width = min(Size.READING, self.width() - 2 * Space.XL)
        height = self.body.fit(max(200, width))
        left = max(Space.XL, (self.width() - width) // 2)
        self.body.setGeometry(left, Space.L, max(200, width), height)
        self.setMinimumHeight(height + 2 * Space.XL)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:
        return QSize(Size.READING, self.minimumHeight())


class ReadingDialog(QDialog):
    """Opened empty with a skeleton, then given its text. `actions` stand in its foot before Close."""

    def __init__(self, parent: QWidget, title: str, link: str = "", actions: Sequence[Button] = ()) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        self._sheet = _Sheet()
        waiting = column(Skeleton(10), None)
        waiting.setContentsMargins(Space.XL, Space.L, Space.XL, Space.L)
        self._waiting = pane(waiting)
        self._scroll = Scroll(self._sheet, title)
        self._scroll.hide()
        self._middle = column(self._waiting, self._scroll, gap=0)
        head = row(Elided(title, "heading"))
        head.setContentsMargins(Space.XL, Space.L, Space.XL, Space.M)
        close = Button(say("kit.close"), "secondary")
        close.clicked.connect(self.reject)
        foot = row(*self._links(link), None, close, *actions, gap=Space.S)
        foot.setContentsMargins(Space.XL, Space.M, Space.XL, Space.L)
        whole = column(head, Line(), self._middle, Line(), foot, gap=0)
        whole.setStretch(2, 1)
        self.setLayout(whole)
        room = parent.window().size()
        self.resize(min(WIDTH, room.width() - 60), min(HEIGHT, room.height() - 60))

    def _links(self, link: str, key: str = "discover.in_browser") -> list[Button]:
        if not link.lower().startswith(SAFE):
            return []
        button = Button(say(key), "ghost", "external")
        button.setToolTip(link)
        button.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(link)))
        return [button]

    def show_markdown(self, text: str) -> None:
        body = ReplyBody()
        self._show(body)
        body.show_text(readable(text))
        self._sheet._fit()

    def show_plain(self, text: str) -> None:
        body = Text(Type.BODY)
        body.setAccessibleName(self.windowTitle())
        body.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        body.show_plain(text)
        self._show(body)

    def show_nothing(self, title: str, meaning: str, page: str = "") -> None:
        """There is no text, or it could not be fetched. `page`: the address of the model's page, to look there."""
        self._waiting.hide()
        self._scroll.hide()
        self._middle.addWidget(EmptyState("file", title, meaning, *self._links(page, "discover.open_page")))

    def _show(self, body: ReplyBody | Text) -> None:
        self._waiting.hide()
        self._scroll.show()
        self._sheet.hold(body)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """A stray Enter closes nothing."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
