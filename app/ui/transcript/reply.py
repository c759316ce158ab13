"""A reply on screen: runs of prose and code blocks under one another, growing at the end.

Invariant: a frozen part is never laid out again because more text came; only the tail is written again.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

from app.ui import theme
from app.ui.tokens import Space
from app.ui.transcript.formulas import formulas
from app.ui.transcript.growing import Block, Code, Growing, Prose, Step
from app.ui.widgets.code import CodeBlock
from app.ui.widgets.markdown import gap, kind_of
from app.ui.widgets.prose import Text
from core.translation import say

RUN_LIMIT = 4_000
"""Characters of prose after which a new text widget begins: selecting and rewriting stay cheap."""
SLICE_CHARS = 2_000
FILL_BUDGET_S = 0.008
FORMULA_WAIT_MS = 60


class Run(Text):
    """Prose blocks in one text: they can be selected together."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(say("transcript.answer_text"))
        self.blocks: list[Prose] = []
        self.size_chars = 0
        self._words = ""

    def set_blocks(self, blocks: list[Prose]) -> None:
        self.blocks, self._words = blocks, ""
        self.size_chars = 0
        self.rewrite()

    def add(self, block: Prose) -> None:
        self.blocks.append(block.light())
        self.size_chars += len(block.source)
        self.append_block(block)

    def add_words(self, words: str) -> None:
        self._words += words
        self.append_words(words)

    def rewrite(self) -> None:
        """Write all blocks anew: another theme, a formula drawn, a link's target found."""
        self.dress()
        self.show_blocks(self.blocks)
        if self._words:
            self.append_words(self._words)

    @property
    def first_kind(self) -> str:
        return kind_of(self.blocks[0]) if self.blocks else "paragraph"


Part = Run | CodeBlock


class ReplyBody(QWidget):
    """Markdown that may still grow. Feed it and `flush()`, or give it a whole text.

    Signals:
        grew: the height that `fit()` would return has changed.
    """

    grew = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._growing = Growing()
        self._parts: list[Part] = []
        self._tail: list[Part] = []
        self._homes: list[Part] = []  # the part of every frozen block
        self._bottoms: list[int] = []
        self._spare: list[Run] = []
        self._slices: list[str] = []
        self._is_whole = False
        self._width = 0
        self._height = 0
        self._filling = self._timer(self._fill)
        self._formulas = self._timer(self._draw_formulas)
        formulas.ready.connect(self._on_ready)
        theme.state.changed.connect(self.redraw)

    def _timer(self, do: object) -> QTimer:
        result = QTimer(self)
        result.setSingleShot(True)
        result.timeout.connect(do)
        return result

    def showEvent(self, event: QShowEvent) -> None:
        """What was laid out before it was shown is measured again: Qt settles a text's width with its first show."""
        super().showEvent(event)
        QTimer.singleShot(0, self, lambda: self._place(0))

    # content

    def show_text(self, text: str, *, is_whole: bool = True) -> None:
        """Show a text: what fits into a few ms at once, the rest in slices. Unless it is whole, more may be fed."""
        self.clear()
        self._slices = _slices(text)
        self._is_whole = is_whole
        self._fill()

    def feed(self, text: str) -> None:
        """More of the reply; nothing is drawn before `flush()`."""
        self._drain()
        self._growing.feed(text)

    def flush(self) -> None:
        """Draw what was fed."""
        if self._growing.is_waiting:
            self._apply(self._growing.advance())

    def finish(self) -> None:
        """The reply has ended: freeze the tail."""
        self._drain()
        self._apply(self._growing.finish())

    def clear(self) -> None:
        for part in [*self._parts, *self._tail]:
            part.hide()
            part.deleteLater()
        self._parts, self._tail, self._homes, self._bottoms = [], [], [], []
        self._growing = Growing()
        self._slices = []
        self._filling.stop()

    @property
    def is_filling(self) -> bool:
        """Whether slices of a long text are still to come."""
        return bool(self._slices)

    def parts(self) -> list[Part]:
        return [*self._parts, *self._tail]

    def _fill(self) -> None:
        until = time.perf_counter() + FILL_BUDGET_S
        while self._slices:
            self._growing.feed(self._slices.pop(0))
            is_last = self._is_whole and not self._slices
            self._apply(self._growing.finish() if is_last else self._growing.advance())
            if self._slices and time.perf_counter() > until:
                self._filling.start(0)
                return

    def _drain(self) -> None:
        """Take the rest of a long text at once: something comes after it."""
        self._filling.stop()
        for piece in self._slices:
            self._growing.feed(piece)
        self._slices = []

    # drawing

    def _apply(self, step: Step) -> None:
        start = len(self._parts) - 1
        for index, block in step.revised.items():
            start = min(start, self._revise(index, block))
        for block in step.frozen:
            self._freeze(block)
        if step.tail is not None:
            self._show_tail(step.tail)
        if step.appended and self._tail:
            last = self._tail[-1]
            last.append(step.appended) if isinstance(last, CodeBlock) else last.add_words(step.appended)
        self._place(len(self._parts) if step.tail is None else max(0, start))

    def _revise(self, index: int, block: Block) -> int:
        home = self._homes[index]
        if isinstance(home, Run) and isinstance(block, Prose):
            home.blocks[index - self._homes.index(home)] = block
            home.rewrite()
        return self._parts.index(home)

    def _freeze(self, block: Block) -> None:
        if isinstance(block, Code):
            part = self._tail.pop(0) if self._tail and isinstance(self._tail[0], CodeBlock) else None
            code = part if isinstance(part, CodeBlock) else self._new_code(block)
            code.replace(block.language, block.text)
            code.finish()
            self._parts.append(code)
        else:
            last = self._parts[-1] if self._parts else None
            if not isinstance(last, Run) or last.size_chars > RUN_LIMIT:
                last = self._new_run()
                last.set_blocks([])
                self._parts.append(last)
            last.add(block)
            if self._tail and isinstance(self._tail[0], Run):
                self._drop(self._tail.pop(0))
        self._homes.append(self._parts[-1])

    def _show_tail(self, blocks: list[Block]) -> None:
        """Show the blocks that are not final, in the parts that are there as far as they fit."""
        old, self._tail = self._tail, []
        run: list[Prose] = []
        for block in blocks:
            if isinstance(block, Code):
                self._tail_run(run, old)
                run = []
                kept = next((part for part in old if isinstance(part, CodeBlock)), None)
                if kept is not None:
                    old.remove(kept)
                    kept.replace(block.language, block.text)
                self._tail.append(kept or self._new_code(block))
            else:
                run.append(block)
        self._tail_run(run, old)
        for part in old:
            self._drop(part)

    def _tail_run(self, blocks: list[Prose], old: list[Part]) -> None:
        if not blocks:
            return
        kept = next((part for part in old if isinstance(part, Run)), None)
        if kept is not None:
            old.remove(kept)
        run = kept or self._new_run()
        run.set_blocks(blocks)
        self._tail.append(run)

    def _new_run(self) -> Run:
        run = self._spare.pop() if self._spare else Run()
        run.setParent(self)
        run.show()
        return run

    def _new_code(self, block: Code) -> CodeBlock:
        code = CodeBlock(block.language, block.text)
        code.setParent(self)
        code.show()
        return code

    def _drop(self, part: Part) -> None:
        part.hide()
        if isinstance(part, Run) and not self._spare:
            self._spare.append(part)
        else:
            part.deleteLater()

    # layout

    def fit(self, width: int) -> int:
        """Lay out for a width in px; returns the height."""
        if width != self._width:
            self._width = width
            self._lay(0)
        return self._height

    def _place(self, start: int) -> None:
        if self._width and self._lay(start):
            self.resize(self._width, self._height)
            self.grew.emit()

    def _lay(self, start: int) -> bool:
        """Give every part from `start` on its place; returns whether the height changed."""
        parts = self.parts()
        start = min(start, len(self._bottoms))
        y = self._bottoms[start - 1] if start else 0
        del self._bottoms[start:]
        for index in range(start, len(parts)):
            part = parts[index]
            y += _gap(parts[index - 1], part) if index else 0
            height = part.fit(self._width)
            part.setGeometry(0, y, self._width, height)
            y += height
            self._bottoms.append(y)
        before, self._height = self._height, y
        return before != y

    # the world changes

    def redraw(self) -> None:
        """Another theme or text size."""
        for part in self.parts():
            part.redraw() if isinstance(part, CodeBlock) else part.rewrite()
        self._place(0)

    def _on_ready(self) -> None:
        if not self._formulas.isActive() and any(isinstance(part, Run) and part.has_news for part in self.parts()):
            self._formulas.start(FORMULA_WAIT_MS)

    def _draw_formulas(self) -> None:
        for part in self.parts():
            if isinstance(part, Run) and part.has_news:
                part.draw_formulas()
        self._place(0)


def _gap(above: Part, below: Part) -> int:
    if isinstance(above, CodeBlock) or isinstance(below, CodeBlock):
        return Space.M
    if below.blocks and below.blocks[0].continues:
        return gap("item", "item")
    return gap(above.last_kind, below.first_kind)


def _slices(text: str) -> list[str]:
    """Cut at blank lines into pieces of about `SLICE_CHARS`."""
    slices = []
    start = 0
    while start < len(text):
        cut = text.find("\n\n", start + SLICE_CHARS)
        end = len(text) if cut < 0 else cut + 2
        slices.append(text[start:end])
        start = end
    return slices
