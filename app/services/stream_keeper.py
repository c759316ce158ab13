"""Answers of the server that end with a word even if the model's process is killed.

The worker shares the socket of every request with us until it is answered. When its process is gone the rest is ours
to say: the error, as the last event of a stream, or as the whole answer where none has begun. The other way round the
worker gets the listening socket from us, so that the port stays ours. Invariant: of a worker that is alive no answer is
touched.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from pathlib import Path

from app.services.loading_answers import unavailable
from core.serving.refusals import Refusal
from core.serving.replies import error_event

ASKED, BEGUN, DONE = b"?", b"+", b"-"  # shared; its stream has begun; answered
MESSAGE_BYTES = 9  # the sign and a number of eight
MOST = 64  # messages, each with a socket, in one look


class StreamKeeper:
    """
    Attributes:
        path: where the worker finds us; "" where sockets cannot be shared
    """

    def __init__(self) -> None:
        self.path = ""
        self._folder: Path | None = None
        self._listener: socket.socket | None = None
        self._line: socket.socket | None = None
        self._read = b""
        self._shared: list[int] = []
        self._kept: dict[bytes, int] = {}
        self._begun: set[bytes] = set()
        self._served: socket.socket | None = None

    def open(self, served: socket.socket | None = None) -> None:
        """served: the listening socket for the worker."""
        self._served = served
        if not hasattr(socket, "recv_fds") or not hasattr(socket, "AF_UNIX"):
            return
        self._folder = Path(tempfile.mkdtemp(prefix="qwb-"))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._folder / "s"))
        self._listener.listen(1)
        self._listener.setblocking(False)
        self.path = str(self._folder / "s")
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._on_worker)

    def close(self) -> None:
        """What is still kept is let go of without a word."""
        loop = asyncio.get_running_loop()
        for one in (self._listener, self._line):
            if one is not None:
                loop.remove_reader(one.fileno())
                one.close()
        self._listener = self._line = None
        self._drop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self.path = ""

    def _on_worker(self) -> None:
        assert self._listener is not None
        try:
            line, _ = self._listener.accept()
        except OSError:
            return
        self._end_line()
        line.setblocking(False)
        try:
            socket.send_fds(line, [b"l"], [self._served.fileno()] if self._served is not None else [])
        except OSError:  # it is gone already, which the line will say
            pass
        self._line = line
        asyncio.get_running_loop().add_reader(line.fileno(), self._on_news)

    def _on_news(self) -> None:
        assert self._line is not None
        try:
            data, shared, _, _ = socket.recv_fds(self._line, MESSAGE_BYTES * MOST, MOST)
        except BlockingIOError:
            return
        except OSError:
            data, shared = b"", []
        self._shared += shared
        if not data:
            self._end_line()
            return
        self._read += data
        while len(self._read) >= MESSAGE_BYTES:
            message, self._read = self._read[:MESSAGE_BYTES], self._read[MESSAGE_BYTES:]
            number = message[1:]
            if message[:1] == ASKED:
                self._kept[number] = self._shared.pop(0)
            elif message[:1] == BEGUN:
                self._begun.add(number)
            elif (kept := self._kept.pop(number, None)) is not None:
                os.close(kept)
                self._begun.discard(number)

    def _end_line(self) -> None:
        """The worker is gone; what it had not said is said now."""
        if self._line is None:
            return
        asyncio.get_running_loop().remove_reader(self._line.fileno())
        self._line.close()
        self._line, self._read = None, b""
        event = error_event(Refusal("api_model_ended").body)
        last = b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event)
        whole = unavailable("api_model_ended")
        for number, kept in self._kept.items():
            with socket.socket(fileno=os.dup(kept)) as connection:
                connection.setblocking(False)
                try:
                    connection.send(last if number in self._begun else whole)
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client is gone too
                    pass
        self._drop()

    def _drop(self) -> None:
        for kept in (*self._kept.values(), *self._shared):
            os.close(kept)
        self._kept, self._shared, self._begun = {}, [], set()
