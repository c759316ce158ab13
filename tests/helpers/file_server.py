"""A loopback HTTP server that serves files and misbehaves on request, and counts what it sends.

`server.plan = ["cut:1000", "ok"]`: how the next requests for a file go; the last entry goes on for ever. It speaks
HTTP/1.1 with kept connections and ranges, under two names, `address` and `elsewhere`: `/resolve/<path>` leads to a
signed address of the other host, `/moved/<path>` to another place on the same one.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

PIECE = 64 * 1024
GIVE_UP_S = 10
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Request:
    """One request for a file, as it came, where its answer begins, and how many bytes of it went out."""

    path: str
    host: str = ""
    range: str = ""
    if_range: str = ""
    authorization: str = ""
    proxy_authorization: str = ""
    start: int = 0
    sent: int = 0


@dataclass
class FileServer:
    """
    Attributes:
        files: body by path
        pages: HTML by path, served without any trouble
        plan: ok, cut:N (close after N bytes), stall:N (send N, then nothing), silent (no answer at all), longer:N,
            shorter:N (a wrong length), unsized (chunks without a length), whole (ignores Range), other (another ETag),
            past (206 from byte 0), part200 (a part under the status of a whole), status:N, loop, slow:N (bytes/s)
        turn: in place of the plan, asked for each request
        signature_serves: how many requests a signed address is good for, 0: for ever
        headers: sent along with every status of the plan
        tls: the identity of a server that is reached by https
        most_at_once: how many files were on their way out at the same time
        waits_for: how many must be on their way at the same time before any goes on after its first 64 KB
    """

    files: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    plan: list[str] = field(default_factory=lambda: ["ok"])
    turn: Callable[[], str] | None = None
    etag: str = '"v1"'
    signature_serves: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    resolved: list[Request] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    most_at_once: int = 0
    waits_for: int = 0

    def __enter__(self) -> Self:
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._at_once = 0
        self._signed: dict[str, int] = {}
        self._connections: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        if self.tls:
            listening = self._server.socket
            self._server.socket = self.tls.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        with self._lock:
            for connection in self._connections:
                _cut(connection)
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def address(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def elsewhere(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.requests)

    def next_turn(self) -> str:
        with self._lock:
            if self.turn:
                return self.turn()
            return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]

    def sign(self, path: str) -> str:
        with self._lock:
            signature = str(len(self._signed))
            self._signed[signature] = 0
            return f"{self.elsewhere}{path}?signature={signature}"

    def serves(self, signature: str) -> bool:
        with self._lock:
            self._signed[signature] += 1
            return not self.signature_serves or self._signed[signature] <= self.signature_serves

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        with self._came:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._came.notify_all()
        yield
        with self._lock:
            self._at_once -= 1

    def wait_for_others(self) -> None:
        with self._came:
            self._came.wait_for(lambda: self.most_at_once >= self.waits_for, GIVE_UP_S)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer's head in one packet

        def setup(self) -> None:
            super().setup()
            server.opened(self.connection)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the other side is gone
                pass

        def finish(self) -> None:
            server.closed(self.connection)
            try:
                super().finish()
            except OSError:
                pass

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path.startswith("http://"):  # as a proxy is asked
                path = "/" + path.split("/", 3)[3]
            if page := server.pages.get(path):
                self._head(200, {"Content-Type": "text/html", "Content-Length": str(len(page))})
                self.wfile.write(page.encode())
            elif path.startswith("/resolve/"):
                server.resolved.append(self._request(path))
                self._head(302, {"Location": server.sign(path.removeprefix("/resolve")), "Content-Length": "0"})
            elif path.startswith("/moved/"):
                self._head(307, {"Location": path.removeprefix("/moved"), "Content-Length": "0"})
            elif (body := server.files.get(path)) is None:
                self._head(404, {"Content-Length": "0"})
            elif self.headers.get("User-Agent", "").startswith("pip/"):  # an old pip looks into the wheel itself
                self._answer(Request(path), body, "ok", 0)
            elif query and not server.serves(query.partition("=")[2]):
                self._head(403, {"Content-Length": "0"})
            else:
                request = self._request(path)
                server.requests.append(request)
                verb, _, number = server.next_turn().partition(":")
                self._misbehave(request, body, verb, int(number or 0))

        def _request(self, path: str) -> Request:
            names = ("Host", "Range", "If-Range", "Authorization", "Proxy-Authorization")
            request = Request(path, *(self.headers.get(name, "") for name in names))
            if asked := RANGE.fullmatch(request.range):
                request.start = int(asked[1])
            return request

        def _misbehave(self, request: Request, body: bytes, verb: str, number: int) -> None:
            match verb:
                case "status":
                    self._head(number, {"Content-Length": "0", **server.headers})
                case "loop":
                    self._head(302, {"Location": request.path, "Content-Length": "0"})
                case "silent":
                    server.released.wait(GIVE_UP_S)
                    self.close_connection = True
                case _:
                    with server.on_its_way():
                        self._answer(request, body, verb, number)

        def _answer(self, request: Request, body: bytes, verb: str, number: int) -> None:
            etag = '"v2"' if verb == "other" else server.etag
            headers = {"ETag": etag} if etag else {}
            asked = RANGE.fullmatch(request.range)
            is_whole = asked is None or verb == "whole" or bool(etag and request.if_range not in ("", etag))
            start, end = 0, len(body)
            if asked and not is_whole:
                start = 0 if verb == "past" else int(asked[1])
                end = min(int(asked[2]) + 1, len(body)) if asked[2] else len(body)
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
            wrong = number if verb == "longer" else -number if verb == "shorter" else 0
            length = (
                {"Transfer-Encoding": "chunked"} if verb == "unsized" else {"Content-Length": str(end - start + wrong)}
            )
            request.start = start
            self._head(200 if is_whole or verb == "part200" else 206, headers | length)
            self._send(request, body[start:end], verb, number)
            self.close_connection = self.close_connection or bool(wrong)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def _send(self, request: Request, rest: bytes, verb: str, number: int) -> None:
            limit = min(number if verb in ("cut", "stall") else len(rest), len(rest))
            try:
                for at in range(0, limit, PIECE):
                    piece = rest[at : min(at + PIECE, limit)]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if verb == "unsized" else piece)
                    self.wfile.flush()
                    request.sent += len(piece)
                    server.wait_for_others()
                    if verb == "slow":
                        time.sleep(len(piece) / number)
                if verb == "unsized":
                    self.wfile.write(b"0\r\n\r\n")
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                return
            if verb == "stall":
                server.released.wait(GIVE_UP_S)
            if verb in ("cut", "stall"):
                _cut(self.connection)
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler
