"""The terminal's modes while a reply streams. Invariant: they are what they were once the block is left.

What is typed meanwhile is not shown between the words of the reply; it waits for the prompt, also after Ctrl-C. Ctrl-C
and Ctrl-Z stay signals, and after Ctrl-Z and `fg` the modes are put in force again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def unseen(on_return: Callable[[], None]) -> Iterator[None]:
    """Needs a running loop, whose SIGCONT it takes for the time. on_return: others had the terminal meanwhile."""
    try:
        import termios

        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (ImportError, OSError, ValueError):  # no terminal, or one of Windows
        yield
        return
    hidden = [*before]
    hidden[3] = hidden[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH

    def hide() -> None:
        with suppress(OSError, termios.error):  # it may be gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, hidden)

    def go_on() -> None:
        hide()
        on_return()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCONT, go_on)
    hide()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        with suppress(OSError, termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
