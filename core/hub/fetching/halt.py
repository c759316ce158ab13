"""The end of a download before its time: every socket that waits and every thread that rests is woken at once.

Invariant: a socket that was handed to `watch` cannot be waited on after `now`, whichever came first.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from weakref import WeakSet


class Halted(Exception):
    """The download was closed, or another part of it has failed."""


class Halt:
    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: WeakSet[socket.socket] = WeakSet()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        if self.is_set:
            raise Halted

    def rest(self, seconds: float) -> None:
        if self._event.wait(seconds):
            raise Halted

    def watch(self, opened: socket.socket) -> None:
        with self._lock:
            self.check()
            self._sockets.add(opened)

    def now(self) -> None:
        with self._lock:
            self._event.set()
            waiting = list(self._sockets)
        for opened in waiting:
            # Not the method of SSLSocket: that one makes the reader take what is still encrypted for the content.
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
