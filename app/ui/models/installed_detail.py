"""The pane beside the table of models: facts of one model, each with its source, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.services.details import Details
from app.services.installed import Installed
from app.ui.load.result import family_words
from app.ui.model_words import notice_words
from app.ui.models.offer_words import licence_words
from app.ui.tokens import Space
from app.ui.widgets.button import Button, wide
from app.ui.widgets.feedback import copyable
from app.ui.widgets.layout import Line, Scroll, column, label, pane, row
from core import figures
from core.protocol.messages import Notice
from core.translation import say

WIDTH = 340


class InstalledDetail(QWidget):
    """
    Signals:
        asked: a verb of InstalledActions
        explain_asked: which of the questions of the help page
    """

    asked = Signal(str)
    explain_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("ground", "sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(WIDTH)
        self._shown: tuple[Installed, Details, tuple[str, ...], str] | None = None
        self._entries: QLabel | None = None
        self._lines: QVBoxLayout = column(gap=Space.S)
        self._lines.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        self.setLayout(column(Scroll(pane(self._lines), say("models.details")), gap=0))

    def show_model(self, model: Installed, details: Details, adapters: tuple[str, ...] = (), memory: str = "") -> None:
        """`memory`: what it takes, in a sentence."""
        if (model, details, adapters, memory) == self._shown:
            return
        self._shown = model, details, adapters, memory
        self._entries = None
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        for part in self._parts(model, details, adapters, memory):
            self._lines.addWidget(part)
        self._lines.addStretch(1)

    def show_vocabulary(self, name: str, entries: int, rows: int) -> None:
        """What the tokenizer says of itself, a moment later."""
        if self._entries is not None and self._shown is not None and self._shown[0].manifest.name == name and entries:
            known = say("models.entries_rows", entries=figures.count(entries), rows=figures.count(rows))
            self._entries.setText(known if rows else figures.count(entries))

    def _parts(self, model: Installed, details: Details, adapters: tuple[str, ...], memory: str) -> list[QWidget]:
        facts = model.manifest
        chat = wide(Button(say("models.chat_with"), "primary", "chat"))
        chat.clicked.connect(lambda: self.asked.emit("chat"))
        load = wide(Button(say("load.open"), "secondary", "chip"))
        load.clicked.connect(lambda: self.asked.emit("load"))
        return [
            label(facts.name, "title", wrap=True),
            label(say("models.from", source=facts.source), "caption", "muted", wrap=True),
            chat,
            load,
            Line(),
            *(self._fact(key, value) for key, value in self._facts(model, details)),
            *([label(memory, "caption", "soft", wrap=True)] if memory else []),
            *self._licence(details),
            *self._adapters(adapters),
            *self._code(facts.code_files),
            *self._remarks(details),
            Line(),
            label(say("models.place"), "caption", "muted"),
            copyable(str(model.files_folder)),
            *([label(say("models.in_place"), "caption", "muted", wrap=True)] if facts.location else []),
            self._actions(),
        ]

    def _facts(self, model: Installed, details: Details) -> list[tuple[str, str]]:
        facts, lengths = model.manifest, details.lengths
        if facts.base:
            own = [("kind", say("models.kind_adapter")), ("base", facts.base)]
            if (adapter := details.adapter) is not None:
                own += [
                    ("method", adapter.kind),
                    ("rank", say("models.rank_alpha", rank=adapter.rank, alpha=f"{adapter.alpha:g}")),
                    ("targets", ", ".join(adapter.targets)),
                ]
        else:
            trained = lengths.trained or facts.context_length
            longest = max(lengths.reachable, lengths.limit, facts.context_length)
            own = [
                ("kind", say("models.kind_chat" if facts.can_chat else "models.kind_base")),
                ("family", family_words(details.family)),
                ("parameters", figures.parameters(facts.parameters)),
                ("architecture", facts.architecture),
                ("weights", figures.precision(facts.weights)),
                ("layers", str(details.layers) if details.layers else ""),
                ("trained", say("models.tokens", count=figures.count(trained)) if trained else ""),
                ("extended", say("models.tokens", count=figures.count(longest)) if longest > trained else ""),
                ("vocabulary", "–"),
            ]
        rest = [
            ("size", figures.size(facts.size_bytes)),
            ("licence", licence_words(facts.licence)),
            ("files", str(len(facts.files))),
            ("added", facts.added[:10] or "–"),
        ]
        return [(key, value) for key, value in (*own, *rest) if value]

    def _fact(self, key: str, value: str) -> QWidget:
        shown = label(value, "caption", wrap=True)
        shown.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if key == "vocabulary":
            self._entries = shown
        title = label(say(f"models.{key}"), "caption", "muted")
        line = row(title, shown, gap=Space.M)
        line.setStretch(1, 1)
        return pane(line)

    def _remarks(self, details: Details) -> list[QWidget]:
        """What is worth knowing; that its code is never run stands beside the names of the files."""
        notices = [*map(Notice, details.remarks), *details.notices]
        return [
            label(notice_words(notice), "caption", "soft", wrap=True)
            for notice in notices
            if notice.code != "code_never_run"
        ]

    def _licence(self, details: Details) -> list[QWidget]:
        """Its text, and for the first generation what its licence asks for."""
        found: list[QWidget] = []
        if details.family == "qwen":
            found.append(label(say("models.licence_first"), "caption", "soft", wrap=True))
        buttons = [self._small("card", "models.card", "card")]
        if details.licence_file is not None:
            buttons.append(self._small("licence", "models.read_licence", "licence"))
        return [*found, pane(row(*buttons, None, gap=0))]

    def _small(self, verb: str, words: str, icon: str) -> Button:
        result = Button(say(words), "ghost", icon, small=True)
        result.clicked.connect(lambda: self.asked.emit(verb))
        return result

    def _adapters(self, names: tuple[str, ...]) -> list[QWidget]:
        if not names:
            return []
        return [
            label(say("models.adapters"), "caption", "muted"),
            label("\n".join(names), "caption", wrap=True),
        ]

    def _code(self, files: tuple[str, ...]) -> list[QWidget]:
        """Python files that came with it: named, with the promise that nothing runs them."""
        if not files:
            return []
        why = Button(say("help.why"), "ghost", "info", small=True)
        why.clicked.connect(lambda: self.explain_asked.emit("remote_code"))
        head = row(label(say("models.code_files"), "caption", "muted"), None, why)
        return [pane(head), label(", ".join(files), "caption", wrap=True)]

    def _actions(self) -> QWidget:
        verify = wide(Button(say("models.verify"), "secondary", "check"))
        verify.clicked.connect(lambda: self.asked.emit("verify"))
        reveal = wide(Button(say("models.reveal"), "secondary", "folder"))
        reveal.clicked.connect(lambda: self.asked.emit("reveal"))
        remove = wide(Button(say("models.remove"), "ghost", "trash"))
        remove.clicked.connect(lambda: self.asked.emit("remove"))
        return pane(column(verify, reveal, remove, gap=Space.XS))
