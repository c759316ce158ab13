"""A reply on a terminal while it comes: finished blocks of Markdown are written for good, only the last is redrawn.

Invariant: every word that came is on the screen once the reply has ended, in its order, and once only. Redrawing takes
a tenth of the time, however long the block is that grows, but for one of thousands of lines.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace

from app.cli.screen import Plain, Screen, clear_progress, obeys, show_progress
from app.cli.terminal.markdown import INDENT, Painter, code, document
from app.cli.terminal.region import Region, size
from app.cli.terminal.text import harmless, wrapped
from app.ui.transcript.growing import Block, Code, Growing, Prose
from core import figures
from core.protocol.messages import Progress, TextDelta
from core.translation import say

QUICKEST_S, SLOWEST_S = 1 / 15, 1.0  # between two redraws
THINKING_ROWS = 6
KEPT_ROWS = 4  # of code: lines that a redraw may still change


class TerminalScreen:
    """
    folds: the thinking is one line once the answer begins; else all of it stays
    """

    def __init__(self, *, folds: bool) -> None:
        self._folds = folds
        self._region = Region(sys.stdout)
        self._painter = Painter()
        self._timer: asyncio.TimerHandle | None = None
        self._costs_s = (0.0, 0.0)  # of the last two redraws; the smaller counts, for the first one imports the parser
        self._reset()

    def _reset(self) -> None:
        self._growing = Growing()
        self._tail: list[Block] = []
        self._words = ""  # at the end of the tail, without markup
        self._sunk = 0  # lines of the code in the tail that are written for good
        self._has_block = False
        self._targets: dict[str, str] = {}  # of links that were written before their targets came
        self._thinking = ""
        self._thinks_since = 0.0
        self._is_markdown = True

    # --- what the conversation says -----------------------------------------------

    def progress(self, event: Progress) -> None:
        show_progress(event)

    def begin(self, *, can_chat: bool) -> None:
        clear_progress()
        self._is_markdown = can_chat

    def show(self, delta: TextDelta) -> None:
        text = harmless(delta.text)
        if delta.thinking:
            self._thinks_since = self._thinks_since or time.monotonic()
            self._thinking += text
        elif self._is_markdown:
            self._fold()
            self._growing.feed(text)
        else:
            self._fold()
            print(text, end="", flush=True)
            self._has_block = True
            return
        if self._timer is None:
            delay = min(max(QUICKEST_S, 10 * min(self._costs_s)), SLOWEST_S)
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def begin_anew(self) -> None:
        self._region.forget()

    def end(self) -> None:
        clear_progress()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fold()
        if self._is_markdown:
            self._draw_text(is_last=True)
        elif self._has_block:
            print(flush=True)
        self._reset()

    # --- drawing --------------------------------------------------------------------

    def _on_timer(self) -> None:
        self._timer = None
        begun = time.perf_counter()
        if self._thinking:
            self._draw_thinking()
        else:
            self._draw_text()
        self._costs_s = (self._costs_s[1], time.perf_counter() - begun)

    def _draw_thinking(self) -> None:
        rows = min(THINKING_ROWS, self._region.most)
        lines = wrapped(self._thinking[-4000:].rstrip(), self._width - INDENT)[-rows:]
        dim = [self._painter.styled(" " * INDENT + line, "dim italic") for line in lines]
        self._region.update([], [self._painter.styled(say("terminal.thinks"), "dim"), *dim])

    def _fold(self) -> None:
        """The thinking is over, if there was any."""
        if not self._thinking:
            return
        seconds = figures.duration(time.monotonic() - self._thinks_since)
        lines = wrapped(say("terminal.thought", seconds=seconds), self._width)
        if not self._folds:
            lines = ["  " + line for line in wrapped(self._thinking.strip("\n"), self._width - INDENT)]
        self._region.update([*(self._painter.styled(line, "dim italic") for line in lines), ""], [])
        self._thinking = ""

    def _draw_text(self, *, is_last: bool = False) -> None:
        step = self._growing.finish() if is_last else self._growing.advance()
        fixed = [line for block in step.frozen for line in self._block(block)]
        if step.tail is not None:
            self._tail, self._words = step.tail, ""
        self._words += step.appended
        for block in step.revised.values():
            if isinstance(block, Prose):
                self._targets |= {label: link["href"] for label, link in block.links.items()}
        fixed += self._sink()
        if is_last and self._targets:
            fixed += ["", *(self._painter.styled(f"[{name}]: {to}", "dim") for name, to in self._targets.items())]
        volatile = self._tail_lines()
        self._region.update(fixed, volatile)

    def _block(self, block: Block) -> list[str]:
        """A finished block, for good, with the empty line before it."""
        lines = self._lines(block)
        if not lines:
            return []
        before = self._space(block)
        self._has_block, self._sunk = True, 0
        return [*before, *lines]

    def _space(self, block: Block) -> list[str]:
        follows = isinstance(block, Prose) and block.continues
        return [""] if self._has_block and not follows and not self._sunk else []

    def _lines(self, block: Block, words: str = "") -> list[str]:
        if isinstance(block, Code) and self._sunk:
            return self._painter.lines(code(block.text + words, block.language, self._sunk + 1), self._width)
        return self._painter.lines(document(block, words), self._width)

    def _tail_lines(self) -> list[str]:
        lines: list[str] = []
        for block in self._tail:
            is_first, is_last = block is self._tail[0], block is self._tail[-1]
            space = self._space(block) if is_first else [""]
            lines += [*space, *self._lines(block, self._words if is_last else "")]
        return lines

    def _sink(self) -> list[str]:
        """Of code that is longer than the screen, the first lines: they cannot change any more."""
        if len(self._tail) != 1 or not isinstance(self._tail[0], Code):
            return []
        block = replace(self._tail[0], text=self._tail[0].text + self._words)
        last = block.text.count("\n") + 1 - KEPT_ROWS
        if last - self._sunk < self._region.most:
            return []
        space = self._space(block)
        lines = self._painter.lines(code(block.text, block.language, self._sunk + 1, last), self._width)
        self._sunk, self._has_block = last, True
        return [*space, *lines]

    @property
    def _width(self) -> int:
        return max(size(sys.stdout)[0] - 1, 8)


def screen(*, folds: bool) -> Screen:
    """For replies on stdout: Markdown on a terminal that can move its cursor, else text as it comes."""
    return TerminalScreen(folds=folds) if sys.stdout.isatty() and obeys() else Plain()
