"""A run on several devices of this machine: a process for each, started by torch's launcher; the first one tells.

Owns the line between them and the worker. Invariant: each event is answered with what the person wants by now, and only
after it has been dealt with, so a checkpoint never comes before the steps it holds; when the worker ends, so do they.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from core.errors import UserError
from core.protocol.codec import decode_event, encode
from core.protocol.messages import Event, Failed, Finished, JobEvent
from core.training.callbacks import Control
from core.training.first_rank import is_first

GO_ON, PAUSE, CANCEL = b".", b"p", b"c"
START_S, POLL_S = 120.0, 0.1


def launch_argv(count: int, command: Sequence[str]) -> list[str]:
    """torchrun on this machine alone, with whatever starts one of us."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    return [*launcher, f"--nproc-per-node={count}", *command]


def follow(
    job_id: str, count: int, command: Callable[[str], Sequence[str]], control: Control
) -> Iterator[JobEvent | None]:
    """The events of the run. command: of one rank, given where the first of them finds us.

    Raises:
        UserError: training_rank_died
    """
    place = Path(tempfile.mkdtemp(prefix="qw-"))  # short: the path of a socket may not be long
    process: subprocess.Popen[bytes] | None = None
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place / "s"))
            listening.listen(1)
            listening.settimeout(POLL_S)
            process = subprocess.Popen(launch_argv(count, command(str(place / "s"))), stdin=subprocess.DEVNULL)
            yield from _events(job_id, listening, process, control)
    finally:
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(place, ignore_errors=True)


def _events(
    job_id: str, listening: socket.socket, process: subprocess.Popen[bytes], control: Control
) -> Iterator[JobEvent | None]:
    connection = None
    while connection is None:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            if process.poll() is not None:
                raise UserError("training_rank_died", status=process.returncode) from None
            yield None
    with connection, connection.makefile("rb") as lines:
        connection.settimeout(None)
        for line in lines:
            event = decode_event(line)
            yield event  # type: ignore[misc]  # the first rank sends events of the job only
            if isinstance(event, Finished | Failed):
                process.wait()
                return
            connection.sendall(CANCEL if control.is_cancelled else PAUSE if control.is_paused else GO_ON)
    raise UserError("training_rank_died", status=process.wait())


class RankLine:
    """The first rank's end, and what it knows of the person's wishes; other ranks have none, and are told by it."""

    def __init__(self, address: str) -> None:
        self.is_cancelled = self.is_paused = False
        self._socket: socket.socket | None = None
        if is_first():
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address)

    def tell(self, event: Event) -> None:
        if self._socket is None:
            return
        self._socket.sendall(encode(event))
        if not isinstance(event, Finished | Failed):
            wish = self._socket.recv(1)
            self.is_cancelled, self.is_paused = wish == CANCEL, wish == PAUSE
