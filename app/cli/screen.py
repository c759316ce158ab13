"""Where a reply is shown while it comes, for scripts: not at all, or as it stands. terminal/screen.py is for people.

Invariant: text goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Protocol

from app.cli.terminal.text import harmless, wrapped
from core.protocol.messages import Progress, TextDelta
from core.translation import say


class Screen(Protocol):
    def progress(self, event: Progress) -> None:
        """How far the loading or the reading is."""

    def begin(self, *, can_chat: bool) -> None:
        """The prompt has been read. can_chat: False of a base model, whose text is no Markdown."""

    def show(self, delta: TextDelta) -> None:
        """More of the reply."""

    def begin_anew(self) -> None:
        """Others have written to the terminal meanwhile."""

    def end(self) -> None:
        """It has ended, whatever ended it: nothing of it is held back from here on."""


class Silent:
    """For --json, which prints the whole in the end."""

    def progress(self, event: Progress) -> None:
        show_progress(event)

    def begin(self, *, can_chat: bool) -> None:
        clear_progress()

    def show(self, delta: TextDelta) -> None:
        pass

    def begin_anew(self) -> None:
        pass

    def end(self) -> None:
        clear_progress()


class Plain:
    """Text as it comes: to the last byte in a pipe, without control characters on a terminal."""

    def __init__(self) -> None:
        self._has_text = self._is_thinking = False

    def progress(self, event: Progress) -> None:
        show_progress(event)

    def begin(self, *, can_chat: bool) -> None:
        clear_progress()

    def show(self, delta: TextDelta) -> None:
        out = sys.stderr if delta.thinking else sys.stdout
        if self._is_thinking and not delta.thinking and sys.stderr.isatty():
            print("\n", flush=True, file=sys.stderr)  # where both are seen, they are told apart
        self._is_thinking = delta.thinking
        print(harmless(delta.text) if out.isatty() else delta.text, end="", flush=True, file=out)
        self._has_text = True

    def begin_anew(self) -> None:
        pass

    def end(self) -> None:
        clear_progress()
        if self._has_text:
            print(flush=True)
        self._has_text = self._is_thinking = False


_shown = False  # whether a line of progress stands on the terminal


def obeys() -> bool:
    """Whether the terminal, if there is one, knows escape sequences."""
    return os.environ.get("TERM", "dumb") != "dumb"


def show_progress(event: Progress) -> None:
    """One line on stderr that the next takes the place of, where it is a terminal."""
    global _shown
    if not (sys.stderr.isatty() and obeys()):
        return
    share = f" {event.done / event.total:.0%}" if event.total else ""
    line = wrapped(f"{say(f'progress.{event.stage}')}{share}", max(shutil.get_terminal_size().columns - 1, 8))[0]
    print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
    _shown = True
    if event.total and event.done >= event.total:
        clear_progress()


def clear_progress() -> None:
    global _shown
    if _shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    _shown = False
