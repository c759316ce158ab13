"""A real pseudo-terminal with a program in it, and the screen a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyte

ROOT = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, str(ROOT / "tests/helpers/fake_talker.py"), "--front"]
PATIENCE_S = 30.0


class Terminal:
    """
    Attributes:
        raw: all bytes the program wrote
    """

    def __init__(
        self, command: Sequence[str], *, columns: int = 80, rows: int = 24, environment: Mapping[str, str] = {}
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=3000)
        self._screen.write_process_input = self.send  # answers where the cursor is, as terminals do
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        variables = {**os.environ, "TERM": "xterm-256color", "LANG": "en_US.UTF-8", **environment}
        for name in {"COLUMNS", "LINES", "NO_COLOR"} - environment.keys():
            variables.pop(name, None)
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, env=variables, cwd=ROOT, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(inside)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self._end()
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._terminal)

    def send(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def text(self) -> str:
        """Everything on the screen and above it."""
        above = [
            "".join(row[column].data for column in range(self._screen.columns)) for row in self._screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip()

    def wait_for(self, words: str, *, after: str = "") -> str:
        """Until `words` can be read below the last `after`; all of the text there."""
        self.until(lambda: words in self.below(after), words)
        return self.below(after)

    def below(self, mark: str) -> str:
        """What stands below the last `mark`, "" where there is none yet; all of the text for ""."""
        return self.text().rpartition(mark)[2] if mark and mark in self.text() else "" if mark else self.text()

    def wait_for_bytes(self, data: bytes) -> None:
        self.until(lambda: data in self.raw, repr(data))

    def enter(self, line: str, prompt: str = "User>") -> str:
        """Type a line; what stands below it once there is a prompt again."""
        shown = f"{prompt} {line}".rstrip() + "\n"
        before = self.text().count(shown)
        self.send(f"{line}\r")
        self.until(lambda: self.text().count(shown) > before and self.text().endswith(f"\n{prompt}"), line)
        return self.text().rpartition(shown)[2].removesuffix(prompt).rstrip()

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Read until it holds; `what` is missed otherwise."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"no {what} in:\n{self.text()}"
            assert self._read(), f"it ended without {what}:\n{self.text()}"

    def end(self) -> int:
        """The exit code of the program, which is ending by itself."""
        self._end()
        return self.process.wait(PATIENCE_S)

    def _end(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._read() and time.monotonic() < deadline:
            pass

    def _read(self) -> bool:
        """False at the end of the output."""
        if not select.select([self._terminal], [], [], 0.02)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # how Linux says it
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
