"""A proxy on loopback that tunnels whatever it is asked for to one place, by CONNECT or SOCKS5, and notes who asked."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Self


@dataclass
class TunnelServer:
    """
    Attributes:
        leads_to: the port where every tunnel ends
        password: of the user "ann"; "" lets everybody in
        refusal: an HTTP status in place of a tunnel
        asked: host and port of each tunnel
    """

    leads_to: int
    password: str = ""
    refusal: int = 0
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingTCPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"


def _handler(proxy: TunnelServer) -> type[BaseRequestHandler]:
    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            try:
                is_open = self._socks(client) if client.recv(1, socket.MSG_PEEK) == b"\5" else self._connect(client)
                if is_open:
                    _tunnel(client, proxy.leads_to)
            except OSError:
                pass

        def _connect(self, client: socket.socket) -> bool:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            lines = head.decode().split("\r\n")
            proxy.asked.append(lines[0].split()[1])
            may = not proxy.password or any(line.startswith("Proxy-Authorization: Basic ") for line in lines)
            status = proxy.refusal or (200 if may else 407)
            client.sendall(f"HTTP/1.1 {status} Said\r\n\r\n".encode())
            return status == 200

        def _socks(self, client: socket.socket) -> bool:
            methods = client.recv(client.recv(2)[1])
            wanted = 2 if proxy.password else 0
            client.sendall(bytes([5, wanted if wanted in methods else 255]))
            if wanted not in methods:
                return False
            if wanted:
                user = client.recv(client.recv(2)[1])
                password = client.recv(client.recv(1)[0])
                right = (user, password) == (b"ann", proxy.password.encode())
                client.sendall(bytes([1, not right]))
                if not right:
                    return False
            kind = client.recv(4)[3]
            host = socket.inet_ntoa(client.recv(4)) if kind == 1 else client.recv(client.recv(1)[0]).decode()
            proxy.asked.append(f"{host}:{int.from_bytes(client.recv(2), 'big')}")
            client.sendall(bytes([5, 5 if proxy.refusal else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
            return not proxy.refusal

    return Handler


def _tunnel(client: socket.socket, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_pump, args=(server, client))
        back.start()
        _pump(client, server)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
