"""A loopback HTTP server that serves files and misbehaves on request, and counts what it sends.

`server.plan = ["cut:1000", "ok"]`: how the next requests for a file go; the last entry goes on for ever.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

PIECE = 64 * 1024


@dataclass
class Request:
    """One request for a file, as it came, and how many bytes of the body went out."""

    path: str
    range: str
    if_range: str
    authorization: str
    sent: int = 0


@dataclass
class FileServer:
    """
    Attributes:
        files: body by path
        pages: HTML by path, served without any trouble
        plan: ok, cut:N (close after N bytes), stall:N (send N, then nothing), longer:N, shorter:N (a wrong length),
            whole (ignores Range), other (another ETag), past (206 from byte 0), status:N, loop, slow:N (bytes/s)
    """

    files: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    plan: list[str] = field(default_factory=lambda: ["ok"])
    etag: str = '"v1"'
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.requests)

    def next_turn(self) -> str:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if page := server.pages.get(self.path):
                self._page(page)
            elif (body := server.files.get(self.path)) is not None:
                header = self.headers.get
                if header("User-Agent", "").startswith("pip/"):  # an old pip looks into the wheel itself
                    self._file(Request(self.path, "", "", ""), body, "ok", 0)
                    return
                request = Request(self.path, header("Range", ""), header("If-Range", ""), header("Authorization", ""))
                server.requests.append(request)
                verb, _, number = server.next_turn().partition(":")
                self._file(request, body, verb, int(number or 0))
            else:
                self.send_error(404)

        def _page(self, page: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())

        def _file(self, request: Request, body: bytes, verb: str, number: int) -> None:
            if verb == "status":
                self.send_response(number)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if verb == "loop":
                self.send_response(302)
                self.send_header("Location", request.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            etag = '"v2"' if verb == "other" else server.etag
            start = int(request.range.removeprefix("bytes=").rstrip("-")) if request.range else 0
            if verb == "whole" or (etag and request.if_range not in ("", etag)):
                start = 0
            if verb == "past":
                start = 0
            self.send_response(206 if request.range and (start or verb == "past") else 200)
            if etag:
                self.send_header("ETag", etag)
            if start or verb == "past":
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            wrong = number if verb == "longer" else -number if verb == "shorter" else 0
            self.send_header("Content-Length", str(len(body) - start + wrong))
            self.end_headers()
            self._send(request, body[start:], verb, number)

        def _send(self, request: Request, rest: bytes, verb: str, number: int) -> None:
            limit = number if verb in ("cut", "stall") else len(rest)
            for at in range(0, min(limit, len(rest)), PIECE):
                piece = rest[at : min(at + PIECE, limit)]
                try:
                    self.wfile.write(piece)
                except OSError:
                    return
                request.sent += len(piece)
                if verb == "slow":
                    time.sleep(len(piece) / number)
            if verb == "stall":
                server.released.wait(10)
            if verb in ("cut", "stall"):
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler
