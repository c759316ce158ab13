"""What is left when the program dies: the session file, the report of a bug, the dump of a fatal signal.

Invariant: a session file whose process is gone means that the program did not end by itself, and its report is shown
once at the next start. Must not import Qt: the command line reports its bugs here too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import platform
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import psutil

from core import log
from core.paths import logs

logger = logging.getLogger("crash")
_SUFFIX = ".session"


@dataclass(frozen=True, slots=True)
class Crash:
    """A session that did not end by itself. `text` is the whole report, secrets masked, ready to be copied."""

    when: datetime
    text: str
    has_trace: bool


class Session:
    """This run of the program: `begin()` at the start, `end()` at a clean end."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or logs()
        self._file = self._folder / f"{os.getpid()}{_SUFFIX}"
        self._out: IO[str] | None = None

    def begin(self) -> None:
        """Open the session file and let fatal signals dump their stacks into it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._out = self._file.open("w", encoding="utf-8")
        started = psutil.Process().create_time()
        self._out.write(f"{started}\n{datetime.now(UTC).isoformat()}\n")
        self._out.flush()
        faulthandler.enable(self._out)

    def end(self) -> None:
        if self._out is not None:
            faulthandler.disable()
            self._out.close()
            self._out = None
            self._file.unlink(missing_ok=True)

    def note(self, trace: str) -> None:
        """Keep the stack of a bug: it is part of the report if the program dies of it."""
        if self._out is not None:
            self._out.write(trace)
            self._out.flush()


def left_behind(folder: Path | None = None) -> Crash | None:
    """The newest crashed session, if any. Its traces are taken away: a crash is told once."""
    folder = folder or logs()
    crashes = [crash for file in folder.glob(f"*{_SUFFIX}") if (crash := _read(file))]
    return max(crashes, key=lambda crash: crash.when, default=None)


def _read(file: Path) -> Crash | None:
    try:
        started, when, *trace = file.read_text("utf-8", errors="replace").split("\n")
        if _runs(int(file.stem), float(started)):
            return None
        moment = datetime.fromisoformat(when)
    except (OSError, ValueError):
        moment, trace = datetime.now(UTC), []
    with contextlib.suppress(OSError):
        file.unlink()
    found = "\n".join(trace).strip()
    return Crash(moment, report(found, file.parent), bool(found))


def _runs(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.Error:
        return False


def report(trace: str, folder: Path | None = None) -> str:
    """A report for people who can help: versions, the stack, the tail of the log. No secrets, no conversation."""
    from importlib.metadata import PackageNotFoundError, version

    versions = []
    for name in ("qwen-workbench", "PySide6-Essentials", "torch", "transformers"):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    head = f"Python {platform.python_version()}, {platform.platform()}\n{', '.join(versions)}"
    tail = log.tail((folder or logs()) / log.FILE_NAME, 8 * 1024)
    return log.mask(f"{head}\n\n{trace or 'No stack was recorded.'}\n\n--- log ---\n{tail}")


def save_report(error: BaseException) -> Path:
    """Write the report of a bug beside the logs; returns the file."""
    trace = "".join(traceback.format_exception(error))
    logger.error("unexpected error\n%s", trace)
    folder = logs()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"crash-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    file.write_text(report(trace), "utf-8")
    return file


def install(session: Session) -> None:
    """Send every unexpected exception to the log and to the session file instead of only to a console."""

    def hook(kind: type[BaseException], error: BaseException, trace: object) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        text = "".join(traceback.format_exception(error))
        logger.error("unexpected error\n%s", text)
        session.note(text)

    sys.excepthook = hook
