"""How a proxy is asked to pass bytes on to another host: CONNECT of HTTP, and SOCKS5.

Invariant: nothing is sent to the host behind the proxy here, and no byte of its answers is taken.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from core.errors import UserError

PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}


class ProxyRefused(Exception):
    """status: as HTTP counts: 407 when the proxy wants another user or password."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Proxy:
    scheme: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        return self.scheme != "http"

    @property
    def authorization(self) -> dict[str, str]:
        return {"Proxy-Authorization": basic(self.user, self.password)} if self.user else {}


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def proxy_at(address: str) -> Proxy:
    """
    Raises:
        UserError: proxy_unusable, for an address that names none, or one of another kind.
    """
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port
    except ValueError:
        raise UserError("proxy_unusable", proxy="?") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise UserError("proxy_unusable", proxy=f"{parts.scheme}://{parts.hostname or '?'}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(parts.scheme, parts.hostname, port or PORTS[parts.scheme], user, password)


def connect(proxy: socket.socket, through: Proxy, host: str, port: int) -> None:
    """
    Raises:
        ProxyRefused: with what the proxy answered.
    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": place, **through.authorization}
    lines = [f"CONNECT {place} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    proxy.sendall("\r\n".join(lines).encode("ascii"))
    answer = http.client.HTTPResponse(proxy, method="CONNECT")
    try:
        answer.begin()
        if answer.status != 200:
            raise ProxyRefused(answer.status)
    finally:
        answer.close()


def socks5(proxy: socket.socket, through: Proxy, host: str, port: int) -> None:
    """RFC 1928 and 1929; the proxy looks names up.

    Raises:
        ProxyRefused: another user or password is wanted, or the proxy does not reach the host.
    """
    proxy.sendall(b"\x05\x02\x00\x02" if through.user else b"\x05\x01\x00")
    method = _exactly(proxy, 2)[1]
    if method == 2:
        proxy.sendall(b"\x01" + _counted(through.user) + _counted(through.password))
    if method not in (0, 2) or (method == 2 and _exactly(proxy, 2)[1]):
        raise ProxyRefused(407)
    proxy.sendall(b"\x05\x01\x00" + _place(host) + port.to_bytes(2, "big"))
    _, refusal, _, kind = _exactly(proxy, 4)
    if refusal:
        raise ProxyRefused(502)
    length = {1: 4, 4: 16}.get(kind) or _exactly(proxy, 1)[0]
    _exactly(proxy, length + 2)


def _place(host: str) -> bytes:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return b"\x03" + _counted(host)
    return (b"\x01" if number.version == 4 else b"\x04") + number.packed


def _counted(text: str) -> bytes:
    raw = text.encode()
    return bytes([len(raw)]) + raw


def _exactly(proxy: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        if not (more := proxy.recv(count - len(got))):
            raise ConnectionResetError("the proxy hung up")
        got += more
    return got
