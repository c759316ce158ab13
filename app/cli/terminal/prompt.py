"""The line editor: history in the home folder, completion of commands, several lines.

Invariant: the history file is the user's alone; a disk that is full costs the history, never the conversation.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import DummyOutput, Output, create_output

from app.cli.terminal import commands
from app.cli.text import whole_characters
from core.files import replace_file
from core.translation import say

MOST_BYTES = 1_000_000  # of the history; the older half goes when there are more
MENU_ROWS = 6


class Prompt:
    def __init__(self, history: Path, message: str) -> None:
        self._message = message
        self._session: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=_Completer(),
            complete_while_typing=Condition(_is_command),
            key_bindings=_bindings(),
            multiline=True,
            prompt_continuation=lambda width, line, is_wrapped: " " * width,
            enable_suspend=True,
            enable_open_in_editor=True,
            reserve_space_for_menu=MENU_ROWS,
            output=_output(),
        )
        self._session.app.renderer.cpr_not_supported_callback = None  # such a terminal works; it need not be told of

    async def read(self) -> str:
        """What was typed, with whole characters.

        Raises:
            EOFError: Ctrl-D. KeyboardInterrupt: Ctrl-C; `is_empty` says whether there was anything to throw away.
        """
        message = FormattedText([("bold ansigreen", self._message)])
        answer = self._session.prompt_async(message, handle_sigint=False, set_exception_handler=False)
        return whole_characters(await answer)

    @property
    def is_empty(self) -> bool:
        return not self._session.default_buffer.text

    def interrupt(self) -> None:
        """A signal from outside is Ctrl-C too."""
        if self._session.app.is_running:
            self._session.app.key_processor.send_sigint()


def _output() -> Output:
    """The terminal, though stdout be a file."""
    if sys.stdout.isatty() or sys.stderr.isatty():
        return create_output(always_prefer_tty=True)
    return DummyOutput()


class _Completer(Completer):
    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        for text, taken in commands.completions(document.text_before_cursor):
            told = say(f"terminal.help_{text[1:].replace('-', '_')}") if text.startswith(":") else ""
            yield Completion(text, -taken, display_meta=told)


def _is_command() -> bool:
    return get_app().current_buffer.text.startswith((":", "："))


def _bindings() -> KeyBindings:
    keys = KeyBindings()
    is_editing = has_focus(DEFAULT_BUFFER)  # not searching the history

    @keys.add("enter", filter=is_editing)
    def _(event: KeyPressEvent) -> None:
        """Send, unless a backslash at the end asks for another line or an entry of the menu is chosen."""
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=is_editing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add(Keys.Vt100MouseEvent)
    def _(event: KeyPressEvent) -> None:
        """No mouse is asked for: this is pasted text with colours, by which the editor's own binding falls over."""

    return keys


class _Lasting(FileHistory):
    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(whole_characters(string))


def _history(file: Path) -> History:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDONLY, 0o600))
        file.chmod(0o600)
        _shorten(file)
    except OSError:
        return InMemoryHistory()
    return _Lasting(file)


def _shorten(file: Path) -> None:
    if file.stat().st_size > MOST_BYTES:
        newer = file.read_bytes()[-MOST_BYTES // 2 :]
        os.close(os.open(file.with_name(f"{file.name}.part"), os.O_CREAT | os.O_RDONLY, 0o600))  # never others' to read
        replace_file(file, newer[newer.find(b"\n#") + 1 :])
