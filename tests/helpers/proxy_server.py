"""A plain forwarding HTTP proxy on loopback: CONNECT, and requests in absolute form. Counts what it is asked, and can
refuse hosts."""

from __future__ import annotations

import select
import socket
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

PIECE = 64 * 1024
_OF_ONE_HOP = {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "transfer-encoding"}


@dataclass
class ProxyServer:
    """
    Attributes:
        refused: hosts it answers 403 for; with `only_loopback` all but this machine
        requests: (method, host) as they came
        login: "user:password" it asks for, "" for none
    """

    refused: set[str] = field(default_factory=set)
    only_loopback: bool = False
    login: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.done = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def hosts(self) -> set[str]:
        return {host for _, host in self.requests}

    def lets(self, host: str) -> bool:
        return host not in self.refused and (not self.only_loopback or host in ("127.0.0.1", "localhost"))


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


def _handler(proxy: ProxyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_CONNECT(self) -> None:
            host, _, port = self.path.rpartition(":")
            if not self._may(host):
                return
            try:
                with socket.create_connection((host, int(port)), 5) as target:
                    self.send_response(200, "Connection established")
                    self.end_headers()
                    self._tunnel(target)
            except OSError:
                self.send_error(502)

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            host = address.hostname or ""
            if not self._may(host):
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
            connection = HTTPConnection(host, address.port or 80, timeout=5)
            try:
                target = f"{address.path}?{address.query}" if address.query else address.path or "/"
                connection.request(self.command, target, headers=headers | {"Connection": "close"})
                self._hand_on(connection)
            except OSError:
                self.send_error(502)
            finally:
                connection.close()

        do_HEAD = do_GET

        def _may(self, host: str) -> bool:
            proxy.requests.append((self.command, host))
            if proxy.login and not self.headers.get("Proxy-Authorization"):
                self.send_response(407)
                self.send_header("Proxy-Authenticate", "Basic")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return False
            if not proxy.lets(host):
                self.send_error(403)
                return False
            return True

        def _hand_on(self, connection: HTTPConnection) -> None:
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OF_ONE_HOP:
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read(PIECE):
                self.wfile.write(piece)

        def _tunnel(self, target: socket.socket) -> None:
            ends = {self.connection: target, target: self.connection}
            while not proxy.done.is_set():
                ready, _, _ = select.select(list(ends), [], [], 0.05)
                for end in ready:
                    data = end.recv(PIECE)
                    if not data:
                        return
                    ends[end].sendall(data)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler
