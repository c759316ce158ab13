"""Answers that shall end with a word even if this process is killed: each connection is shared with the front.

The front holds a copy of the socket until its request is answered, and writes the error when we are gone; the socket
that listens comes from it. Where the system cannot pass sockets on, an answer is cut off instead and we listen
ourselves.
Invariant: what is told here is told at the beginning and the end of an answer, never for a token.
"""

from __future__ import annotations

import logging
import socket
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

ASKED, BEGUN, DONE = b"?", b"+", b"-"
NUMBER_BYTES = 8
PATIENCE_S = 10.0

log = logging.getLogger("serving")


class KeeperLine:
    """
    Attributes:
        listener: where the server shall listen, None where it has to bind a socket itself
    """

    def __init__(self, path: str) -> None:
        """path: of the front's socket; "" for none."""
        self.listener: socket.socket | None = None
        self._line: socket.socket | None = None
        self._numbers = count()
        self._sockets: dict[Any, BaseTransport] = {}
        if path:
            self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._line.connect(path)
            self._line.settimeout(PATIENCE_S)
            _, given, _, _ = socket.recv_fds(self._line, 1, 1)
            self._line.settimeout(None)
            self.listener = socket.socket(fileno=given[0]) if given else None

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def protocol(self) -> type[H11Protocol]:
        """For uvicorn: HTTP on connections that are known here by their client."""
        sockets = self._sockets

        class Known(H11Protocol):
            def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                sockets[transport.get_extra_info("peername")[:2]] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                sockets.pop(self.client, None)
                super().connection_lost(exc)

        return Known

    @contextmanager
    def kept(self, scope: Scope) -> Iterator[Callable[[], None]]:
        """While a request of the connection of `scope` is answered. Call what it gives once the head of a stream is
        sent."""
        transport = self._sockets.get(tuple(scope["client"])) if scope.get("client") else None
        shared = transport.get_extra_info("socket") if transport is not None else None
        number = next(self._numbers).to_bytes(NUMBER_BYTES)
        if self._line is None or shared is None:
            yield lambda: None
            return
        self._say(ASKED + number, [shared.fileno()])
        try:
            yield lambda: self._say(BEGUN + number)
        finally:
            self._say(DONE + number)

    def _say(self, message: bytes, descriptors: list[int] | None = None) -> None:
        if self._line is None:
            return
        try:
            if descriptors:
                socket.send_fds(self._line, [message], descriptors)
            else:
                self._line.sendall(message)
        except OSError as error:  # the front has no keeper any more
            log.info("keeper: %s", error)
            self.close()
