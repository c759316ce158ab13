"""A run on disk: the directory a detached worker works in. The worker writes it, any front reads it.

    lock           held by the worker for as long as it lives
    state.json     RunRecord, replaced as a whole
    metrics.jsonl  one line per step: {"step": 1, "loss": 2.5}; null stands for a value that is no number
    heartbeat      touched every second
    socket         where the worker can be talked to
    worker.log     what it printed

Invariant: the run is alive exactly while `lock` is held, however the worker ended; and metrics.jsonl holds each step at
most once, in order, in whole lines (a torn last line, left by a kill, is never read and cut off by the next writer).
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from core.errors import UserError
from core.files import replace_file
from core.protocol.messages import Failed, Finished

log = logging.getLogger("run")

START_REFUSED = 75  # exit code of a worker that found its run at work already
LOCK_PATIENCE_S = 1.0
BLOCK = 1 << 16  # bytes of metrics read at once, about a thousand steps

Step = tuple[int, dict[str, float]]


class RunRecord(Struct, frozen=True):
    """What the worker last wrote about itself. After its death only `end` is still true."""

    state: Literal["running", "pausing", "stopping", "ended"]
    pid: int
    end: Finished | Failed | None = None


class RunDir:
    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.job_id = self.path.name
        self.metrics = self.path / "metrics.jsonl"
        self.heartbeat = self.path / "heartbeat"
        self.socket = self.path / "socket"
        self.log = self.path / "worker.log"
        self._lock = self.path / "lock"
        self._state = self.path / "state.json"

    # --- for the worker ------------------------------------------------------------

    def hold(self) -> int:
        """Take the lock for the rest of this process's life; returns its descriptor, which must stay open.

        A POSIX lock, which forked children do not inherit: when the worker is killed, nobody holds it on. The price:
        the holder must never open the lock file again, since closing any descriptor of it gives the lock up.

        Raises:
            UserError: another worker is at this run
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_PATIENCE_S  # a front that looks holds it for an instant, a dying worker too
        while not _locked(descriptor, shared=False):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise UserError("run_already_running", run=self.job_id)
            time.sleep(0.01)
        return descriptor

    def write_record(self, record: RunRecord) -> None:
        """Atomic: readers see the old one or the new one."""
        replace_file(self._state, msgspec.json.encode(record))

    def write_socket(self, path: Path) -> None:
        replace_file(self.socket, os.fsencode(path))

    # --- for a front -----------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether a worker is at this run."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not _locked(descriptor, shared=True)
        finally:
            os.close(descriptor)

    def record(self) -> RunRecord | None:
        """None before the first start."""
        try:
            return msgspec.json.decode(self._state.read_bytes(), type=RunRecord)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            log.warning("state of run %s could not be read: %s", self.job_id, error)
            return None

    def silent_s(self) -> float:
        """Seconds since the worker last beat."""
        try:
            return time.time() - self.heartbeat.stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def last_step(self) -> int:
        """The last step whose metrics were written; 0 before the first."""
        steps = _steps(self._last_lines()[-1:])
        return steps[-1][0] if steps else 0

    def last_steps(self, count: int) -> list[Step]:
        """So many at the most."""
        return _steps(self._last_lines()[-count:])

    def latest(self) -> dict[str, float]:
        """Each figure as it was last among the last steps: some are not measured at every step."""
        found: dict[str, float] = {}
        for _, values in _steps(self._last_lines()):
            found |= values
        return found

    def _last_lines(self) -> list[bytes]:
        """Whole ones only."""
        try:
            with self.metrics.open("rb") as file:
                begin = max(0, file.seek(0, os.SEEK_END) - BLOCK)
                file.seek(begin)
                lines = file.read().rpartition(b"\n")[0].split(b"\n")
        except FileNotFoundError:
            return []
        return lines[1:] if begin else lines


class MetricsWriter:
    """Appends steps; a step that comes again, after a resume from a checkpoint, takes the place of all from it on."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._last = 0
        self._keep_below(math.inf)

    def append(self, step: int, values: dict[str, float]) -> None:
        """One write of one line, so that a kill tears at most this one. OSError when the disk is full."""
        if step <= self._last:
            self._keep_below(step)
        line = msgspec.json.encode({"step": step, **values}) + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(f"{self._file.name} could not be written to its end")
        self._last = step

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def _keep_below(self, step: float) -> None:
        """Cut off the steps from `step` on, and what is torn."""
        end, self._last = 0, 0
        with open(self._file.name, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                found = _steps([line])
                if found and found[0][0] >= step:
                    break
                end += len(line)
                self._last = found[0][0] if found else self._last
        self._file.truncate(end)


class MetricsReader:
    """Follows metrics.jsonl: every step after `after_step` once and in order, also over a restart of the worker."""

    def __init__(self, file: Path, after_step: int) -> None:
        self._path = file
        self._last = after_step
        self._offset = 0

    def read(self) -> list[Step]:
        """The next steps, at most one block of them; empty when all that is written was read."""
        while lines := self._lines():
            new = [(step, values) for step, values in _steps(lines) if step > self._last]
            if new:
                self._last = new[-1][0]
                return new
        return []

    def read_many(self, most: int = sys.maxsize) -> list[Step]:
        """About so many steps at once; empty when all that is written was read."""
        found: list[Step] = []
        while len(found) < most and (block := self.read()):
            found += block
        return found

    def start_over(self) -> None:
        """Another worker may have cut the file: read it again, skipping what was given out."""
        self._offset = 0

    def _lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                if self._offset > file.seek(0, os.SEEK_END):
                    self._offset = 0
                file.seek(self._offset)
                whole, newline, _ = file.read(BLOCK).rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(whole + newline)
        return whole.split(b"\n") if newline else []


_line = msgspec.json.Decoder(dict[str, float | None])


def _steps(lines: list[bytes]) -> list[Step]:
    found: list[Step] = []
    for line in filter(None, lines):
        try:
            values = _line.decode(line)
            step = int(values.pop("step") or 0)
        except (msgspec.DecodeError, KeyError):
            # After a power cut a block may be filled with zeros; the rest of the run is still worth showing.
            log.warning("a line of metrics could not be read: %.80r", line)
            continue
        found.append((step, {name: math.nan if value is None else value for name, value in values.items()}))
    return found


def _locked(descriptor: int, *, shared: bool) -> bool:
    """Try to lock; gone with the descriptor or the process."""
    import fcntl  # not on Windows, where msvcrt.locking takes its place

    try:
        fcntl.lockf(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
