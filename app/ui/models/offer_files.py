"""Which files of a repository will be fetched, which not and why, and which GGUF file where there are several.

Invariant: every file of the repository is named in one of the lists; Python files stand apart, with the promise that
nothing runs them.
"""

from __future__ import annotations

from itertools import groupby

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.services.discovery import Look
from app.ui.tokens import Space
from app.ui.widgets.button import Button, Select
from app.ui.widgets.feedback import Skeleton
from app.ui.widgets.layout import column, label, pane, row
from core import figures
from core.hub.needed_files import GgufChoice
from core.translation import say

MOST = 12  # names in a list
USUAL = ("Q4_K_M", "Q5_K_M", "Q8_0")  # the first of these is offered


class Fold(QWidget):
    """A line that opens a list of names below it."""

    def __init__(self, title: str, names: list[str]) -> None:
        super().__init__()
        shown = names[:MOST]
        if len(names) > MOST:
            shown.append(say("discover.more_names", count=len(names) - MOST))
        self._names = label("\n".join(shown), "caption", "muted", wrap=True)
        self._names.hide()
        self.button = Button(say("discover.show_names"), "ghost", small=True, trailing="down")
        self.button.setAccessibleName(f"{title}: {say('discover.show_names')}")
        self.button.setCheckable(True)
        self.button.toggled.connect(self._toggle)
        head = row(label(title, "caption", "soft", wrap=True), self.button, gap=Space.S)
        head.setStretch(0, 1)
        self.setLayout(column(head, self._names, gap=Space.XXS))

    def _toggle(self, is_open: bool) -> None:
        self._names.setVisible(is_open)
        self.button.trailing = "up" if is_open else "down"
        self.button.update()


class OfferFiles(QWidget):
    """
    Signals:
        chosen: the GGUF file that shall be fetched
        explain_asked: which of the questions of the help page
    """

    chosen = Signal(str)
    explain_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._lines = column(gap=Space.XS)
        self.setLayout(self._lines)
        self.select: Select | None = None

    def show_waiting(self) -> None:
        self._clear()
        self._lines.addWidget(Skeleton(2))

    def show_nothing(self) -> None:
        self._clear()

    def show_look(self, look: Look, file: str) -> None:
        """`file`: the chosen one of several."""
        self._clear()
        needed = look.needed
        self._lines.addWidget(label(say("discover.files"), "strong"))
        if needed.choices:
            self._lines.addWidget(self._choice(needed.choices, file))
        names = [f"{one.path}  ·  {figures.size(one.size_bytes)}" for one in needed.files]
        if names:
            count, size = figures.count(len(names)), figures.size(needed.total_bytes)
            key = "discover.files_count" if len(names) != 1 else "discover.files_one"
            self._lines.addWidget(Fold(say(key, count=count, size=size), names))
        for title, left in self._left_out(look):
            self._lines.addWidget(Fold(title, left))
        if needed.kind == "pickle":
            self._lines.addWidget(label(say("discover.only_pickle"), "caption", "warn", wrap=True))
        if needed.code_files:
            self._lines.addWidget(self._code(needed.code_files))

    def _choice(self, choices: tuple[GgufChoice, ...], file: str) -> QWidget:
        words = {choice_words(choice): choice.file.path for choice in choices}
        now = next((words_ for words_, path in words.items() if path == file), next(iter(words)))
        self.select = Select(say("discover.gguf_file"), list(words), now)
        self.select.chosen.connect(lambda word: self.chosen.emit(words[word]))
        line = row(label(say("discover.gguf_file"), "body", "soft"), None, self.select, gap=Space.S)
        return pane(line)

    def _left_out(self, look: Look) -> list[tuple[str, list[str]]]:
        """By reason; code has a place of its own."""
        rest = sorted((one for one in look.needed.left_out if one.why != "code"), key=lambda one: (one.why, one.path))
        if not rest:
            return []
        names = []
        for why, same in groupby(rest, key=lambda one: one.why):
            names += [f"{say(f'hubs.left_out_{why}')}:", *(f"    {one.path}" for one in same)]
        title = say("discover.left_out", count=figures.count(len(rest)))
        return [(title if len(rest) != 1 else say("discover.left_out_one"), names)]

    def _code(self, names: tuple[str, ...]) -> QWidget:
        why = Button(say("help.why"), "ghost", "info", small=True)
        why.clicked.connect(lambda: self.explain_asked.emit("remote_code"))
        head = row(label(say("models.code_files"), "caption", "soft"), None, why)
        return pane(column(head, label(", ".join(names), "caption", "muted", wrap=True), gap=0))

    def _clear(self) -> None:
        self.select = None
        while item := self._lines.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()


def choice_words(choice: GgufChoice) -> str:
    name = choice.quantisation or choice.file.path
    return f"{name}  ·  {figures.size(choice.file.size_bytes)}"


def usual_file(look: Look) -> str:
    """The GGUF file to offer: a middle quantisation where there is one, else the first; "" where there is no choice."""
    choices = look.needed.choices
    for name in USUAL:
        for choice in choices:
            if choice.quantisation == name:
                return choice.file.path
    return choices[0].file.path if choices else ""
