"""The way to a host: its proxy, its addresses, its identity.

Invariant: every socket is watched by the halt from before it connects, so no step of the way outlasts a cancel. The
look-up of a name cannot be broken off; it runs in a thread of its own that nobody waits for once it is not wanted.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from core.errors import UserError
from core.hub.fetching import tunnels
from core.hub.fetching.halt import Halt
from core.hub.fetching.patience import Hosts
from core.hub.fetching.remote import Network
from core.hub.fetching.tunnels import Proxy, proxy_at

LOOK_S = 0.05

_Addresses = list[tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]]


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def place(self) -> str:
        """As the Host header names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """
    Raises:
        ValueError: it is no address of the web.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(parts.scheme)
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    return Origin(parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80))


class Routes:
    """Shared by all threads of a download."""

    def __init__(self, network: Network, halt: Halt) -> None:
        self._network = network
        self._halt = halt
        self.hosts = Hosts()
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def proxy(self, origin: Origin) -> Proxy | None:
        """What the user has set, else what the environment says."""
        if self._network.proxy:
            return proxy_at(self._network.proxy)
        found = getproxies()
        address = found.get(origin.scheme) or found.get("all")
        return proxy_at(address) if address and not proxy_bypass(origin.host) else None

    def open(self, origin: Origin) -> socket.socket:
        """A socket that speaks with `origin`, or with the proxy where that takes plain requests itself.

        Raises:
            OSError, ProxyRefused, Halted
            UserError: proxy_unusable, certificates_unreadable
        """
        proxy = self.proxy(origin)
        opened = self._dial(proxy.host, proxy.port) if proxy else self._dial(origin.host, origin.port)
        try:
            if proxy and proxy.is_socks:
                tunnels.socks5(opened, proxy, origin.host, origin.port)
            elif proxy and origin.is_secure:
                tunnels.connect(opened, proxy, origin.host, origin.port)
            if origin.is_secure:
                opened = self._secured(opened, origin.host)
            opened.settimeout(self._network.stall_s)
        except BaseException:
            opened.close()
            raise
        return opened

    def _dial(self, host: str, port: int) -> socket.socket:
        last: OSError = socket.gaierror(f"no address of {host}")
        for family, address in self._addresses(host, port):
            opened = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._halt.watch(opened)
                opened.settimeout(self._network.connect_s)
                opened.connect(address)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return opened
            except OSError as error:
                opened.close()
                last = error
            except BaseException:
                opened.close()
                raise
        raise last

    def _addresses(self, host: str, port: int) -> _Addresses:
        found: queue.SimpleQueue[_Addresses | OSError] = queue.SimpleQueue()
        threading.Thread(target=_look_up, args=(host, port, found), name="look-up", daemon=True).start()
        while True:
            try:
                answer = found.get(timeout=LOOK_S)
            except queue.Empty:
                self._halt.check()
                continue
            if isinstance(answer, OSError):
                raise answer
            return answer

    def _secured(self, opened: socket.socket, host: str) -> socket.socket:
        secured = self._trust().wrap_socket(opened, server_hostname=host, do_handshake_on_connect=False)
        try:
            self._halt.watch(secured)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def _trust(self) -> ssl.SSLContext:
        """Made once: reading the system's certificates takes a while."""
        with self._lock:
            if self._context is None:
                context = ssl.create_default_context()
                context.set_alpn_protocols(["http/1.1"])
                if self._network.certificates:
                    _load(context, self._network.certificates)
                self._context = context
            return self._context


def _load(context: ssl.SSLContext, certificates: str) -> None:
    try:
        context.load_verify_locations(certificates)
    except (OSError, ssl.SSLError):
        raise UserError("certificates_unreadable", file=certificates) from None


def _look_up(host: str, port: int, found: queue.SimpleQueue[_Addresses | OSError]) -> None:
    try:
        listed = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.put([(family, address) for family, _, _, _, address in listed])
    except (OSError, UnicodeError) as error:  # a label that is too long is a UnicodeError
        found.put(error if isinstance(error, OSError) else socket.gaierror(str(error)))
