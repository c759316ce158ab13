"""HTTP as one thread of a download speaks it: a request at a time, over connections that are kept open.

http.client does the talking, because bytes then go from the socket into our buffer with nothing between, and because
its sockets are ours to cut. Invariant: whatever the network does wrong leaves here as `Trouble`, so an OSError that
passes through the caller is one of the disk.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlsplit

from core.errors import UserError
from core.hub.fetching.halt import Halt
from core.hub.fetching.patience import asked_rest
from core.hub.fetching.route import Origin, Routes, origin_of
from core.hub.fetching.tunnels import ProxyRefused

GATHER_S = 0.05  # what comes within this time is passed on together, so that the disk is not asked for every packet
SMALL_BYTES = 64 * 1024  # an unwanted body up to this length is read, so that the connection can be kept
FULL = (429, 503)  # too many requests, or too much to do
UNENDING = 2**63 - 1
SAFE = "/%:@!$&'()*+,;=~?"  # what an address may hold as it is


class Trouble(Exception):
    """The connection failed, or was cut, or stood still: worth another attempt."""


class Line:
    """The connections of one thread, one to each host."""

    def __init__(self, routes: Routes, halt: Halt) -> None:
        self._routes = routes
        self._halt = halt
        self._open: dict[Origin, _Connection] = {}

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer, its body not read yet.

        Raises:
            Trouble, Halted
            ValueError: `url` is no address of the web.
            UserError: download_untrusted, download_forbidden by the proxy, and what Routes.open says.
        """
        origin = origin_of(url)
        connection = self._open.get(origin)
        if connection is None:
            connection = self._open[origin] = _Connection(origin, self._routes)
        hosts = self._routes.hosts
        self._halt.rest(hosts.rest_s(origin.host))
        try:
            answer = self._ask(connection, url, headers)
        except ssl.SSLCertVerificationError:
            raise UserError("download_untrusted", host=origin.host) from None
        except ProxyRefused as refused:
            if refused.status in (401, 403, 407):
                raise UserError("download_forbidden", host=origin.host, status=refused.status) from None
            raise Trouble(f"proxy: {refused.status}") from None
        except (OSError, http.client.HTTPException) as error:
            self._halt.check()
            raise Trouble(type(error).__name__) from None
        if answer.status in FULL:
            hosts.asked(origin.host, asked_rest(answer.header("Retry-After"), answer.header("RateLimit")))
        return answer

    def _ask(self, connection: _Connection, url: str, headers: Mapping[str, str]) -> Answer:
        """A kept connection may have been closed by the other side meanwhile; that is no failure yet."""
        was_open = connection.sock is not None
        try:
            return connection.ask(url, headers)
        except (ConnectionError, http.client.BadStatusLine, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            if not was_open:
                raise
            return connection.ask(url, headers)

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, origin: Origin, routes: Routes) -> None:
        super().__init__(origin.host, origin.port)
        self._origin = origin
        self._routes = routes

    def connect(self) -> None:
        self.sock = self._routes.open(self._origin)

    def ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(url)
        target = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")
        sent = {"Host": self._origin.place, "User-Agent": "qwen-workbench", **headers}
        proxy = None if self._origin.is_secure else self._routes.proxy(self._origin)
        if proxy and not proxy.is_socks:
            target = f"http://{self._origin.place}{target}"
            sent |= proxy.authorization
        try:
            self.request("GET", target, headers=sent)
            opened: socket.socket = self.sock  # gone from here when the answer says that it closes
            return Answer(self.getresponse(), self, opened)
        except BaseException:
            self.close()
            raise


class Answer:
    """
    Attributes:
        length: of the body, None when the server does not say
    """

    def __init__(
        self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, opened: socket.socket
    ) -> None:
        self.status = response.status
        self.length = response.length
        self._response = response
        self._connection = connection
        self._opened = opened
        self._left = response.length
        self._is_first = True

    def header(self, name: str) -> str:
        return self._response.headers.get(name) or ""

    def fill(self, buffer: memoryview, most: int = UNENDING) -> Iterator[int]:
        """Put the body into `buffer`, again and again from its start; how many bytes it holds each time.

        Raises:
            Trouble: before the end of the body; what came before has been passed on.
        """
        left = most if self._left is None else min(most, self._left)
        while left:
            got, trouble = self._gathered(buffer[: min(left, len(buffer))])
            left -= got
            if self._left is not None:
                self._left -= got
            if got:
                yield got
            if trouble is None and not got and self.length is not None:
                trouble = ConnectionResetError()
            if trouble is not None:
                raise Trouble(type(trouble).__name__) from None
            if not got:
                return

    def _gathered(self, buffer: memoryview) -> tuple[int, Exception | None]:
        """How much of `buffer` was filled before it was full, or nothing more was at hand, or something went wrong."""
        got, due = 0, time.monotonic() + GATHER_S
        try:
            while got < len(buffer) and (more := self._read(buffer[got:])):
                got += more
                if got == len(buffer) or not _is_at_hand(self._opened, due - time.monotonic()):
                    break
        except (OSError, http.client.HTTPException) as error:
            return got, error
        return got, None

    def _read(self, buffer: memoryview) -> int:
        """One read of the socket. Where the length is known it goes past http.client, which would copy once more;
        but the first bytes may lie in its buffer already, behind the head."""
        if self.length is None:
            return self._response.readinto1(buffer)
        if self._is_first:
            self._is_first = False
            return self._response.fp.readinto1(buffer[: io.DEFAULT_BUFFER_SIZE])
        return self._opened.recv_into(buffer)

    def close(self) -> None:
        """Keep the connection when the body was read to its end, or is short enough to do so now."""
        if self._left is not None and 0 < self._left <= SMALL_BYTES and not self._is_wanted:
            self._drain(self._left)
        if self._left or (self._left is None and not self._response.isclosed()):
            self._connection.close()
        self._response.close()

    @property
    def _is_wanted(self) -> bool:
        return self.status in (200, 206)

    def _drain(self, length: int) -> None:
        try:
            for _ in self.fill(memoryview(bytearray(length))):
                pass
        except Trouble:
            self._connection.close()


def _is_at_hand(opened: socket.socket, within_s: float) -> bool:
    """Whether reading would not wait longer than this, so that no byte lies here while the network stands still."""
    if within_s <= 0:
        return False
    if isinstance(opened, ssl.SSLSocket) and opened.pending():
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([opened], [], [], within_s)[0])
    waiting = select.poll()
    waiting.register(opened, select.POLLIN)
    return bool(waiting.poll(within_s * 1000))
