"""Where fronts talk to a detached worker: a Unix socket, JSON lines, any number of fronts.

Owns a thread and the socket. Invariant: nothing a front does, or fails to do, holds the training back: publish() never
waits, and a front that does not read is let go, since it can read everything that matters in the run directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import UserError
from core.protocol.codec import Unreadable, decode_request, encode
from core.protocol.messages import Event, Heartbeat, Request

HEARTBEAT_S = 1.0
UNSENT_MOST = 1 << 18  # bytes for one front, some thousand events
FLUSH_S = 1.0


class _Front:
    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.unread = b""
        self.unsent = bytearray()


class Door:
    """
    Attributes:
        path: of the socket
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        greet: Callable[[], list[Event]],
        on_request: Callable[[Request], None],
        on_beat: Callable[[], None],
    ) -> None:
        """greet: what a front hears first. All three are called in the door's thread.

        The caller must hold the lock of run_dir: then a socket that is already there has no owner.
        """
        self.path = socket_folder() / f"{hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:20]}.sock"
        self._greet, self._on_request, self._on_beat = greet, on_request, on_beat
        self._fronts: list[_Front] = []
        self._guard = threading.Lock()  # of every `unsent` and of the list
        self._is_closing = False
        self._listener = self._listen()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="door", daemon=True)
        self._thread.start()

    def publish(self, event: Event) -> None:
        """To every front that is there; never waits."""
        line = encode(event)
        with self._guard:
            for front in self._fronts:
                front.unsent += line
        self._wake()

    def close(self) -> None:
        """Send what is unsent, as far as it goes within FLUSH_S, and take the socket away."""
        self._is_closing = True
        self._wake()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        self.path.chmod(0o600)
        listener.listen()
        listener.setblocking(False)
        return listener

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake
            self._waker.send(b"!")

    # --- the thread ----------------------------------------------------------------

    def _serve(self) -> None:
        next_beat = time.monotonic()
        deadline = float("inf")
        while time.monotonic() < deadline:
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + HEARTBEAT_S
                self._on_beat()
                self.publish(Heartbeat())
            self._turn(max(0.0, next_beat - time.monotonic()))
            if self._is_closing:
                deadline = min(deadline, time.monotonic() + FLUSH_S)
                if not any(front.unsent for front in self._fronts):
                    break
        for front in list(self._fronts):
            self._drop(front)
        for end in (self._listener, self._waker, self._woken):
            end.close()

    def _turn(self, timeout_s: float) -> None:
        """Wait for something to do, and do it."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, self._accept)
            selector.register(self._woken, selectors.EVENT_READ, self._rouse)
            for front in self._fronts:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if front.unsent else 0)
                selector.register(front.connection, wanted, front)
            for key, ready in selector.select(timeout_s):
                if isinstance(key.data, _Front):
                    self._attend(key.data, ready)
                else:
                    key.data()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it has hung up already
            front = _Front(self._listener.accept()[0])
            front.unsent += b"".join(encode(event) for event in self._greet())
            with self._guard:
                self._fronts.append(front)

    def _rouse(self) -> None:
        self._woken.recv(1 << 16)
        for front in list(self._fronts):
            if len(front.unsent) > UNSENT_MOST:
                self._drop(front)

    def _attend(self, front: _Front, ready: int) -> None:
        try:
            if ready & selectors.EVENT_READ:
                self._read(front)
            if ready & selectors.EVENT_WRITE:
                with self._guard:
                    sent = front.connection.send(front.unsent)
                    del front.unsent[:sent]
        except (OSError, EOFError, Unreadable):
            self._drop(front)

    def _read(self, front: _Front) -> None:
        data = front.connection.recv(1 << 16)
        if not data:
            raise EOFError
        *lines, front.unread = (front.unread + data).split(b"\n")
        for line in lines:
            self._on_request(decode_request(line))

    def _drop(self, front: _Front) -> None:
        with self._guard:
            if front in self._fronts:
                self._fronts.remove(front)
        front.connection.close()


def socket_folder() -> Path:
    """A folder of this user alone, on a path short enough for a socket (108 bytes on Linux, 104 on macOS)."""
    folder = Path(tempfile.gettempdir()) / f"qwen-workbench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise UserError("run_socket_unsafe", folder=str(folder))
    return folder
