"""What the server's port says while the model is being loaded: come again, to programs and to people.

Owns the connections that come meanwhile. Invariant: it never reads more than the head of a request and knows no key, so
it tells nothing but that.
"""

from __future__ import annotations

import asyncio
import html
import socket

import msgspec

from core.serving.refusals import Refusal
from core.translation import say

AGAIN_S = 5
LINGER_S = 2.0  # for the client to read; a connection that is closed over an unread body would lose the answer
LONGEST_HEAD = 64 << 10
PAGE = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="3"><title>{title}</title><p>{text}</p>'


def unavailable(code: str) -> bytes:
    """A whole answer with the refusal `code`."""
    return _answer(msgspec.json.encode(Refusal(code).body), "application/json")


def _answer(body: bytes, kind: str) -> bytes:
    head = (
        "HTTP/1.1 503 Service Unavailable",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        f"retry-after: {AGAIN_S}",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


class LoadingAnswers:
    """Answers at a listening socket from `start` to `stop`; the socket stays open."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    async def start(self) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self._open), sock=self._listener.dup())

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._open):
            connection.end()


class _Connection(asyncio.Protocol):
    def __init__(self, among: set[_Connection]) -> None:
        self._among, self._head = among, b""
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._among.add(self)
        self._end = asyncio.get_running_loop().call_later(LINGER_S, self.end)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or b"\r\n\r\n" in self._head:
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            is_person = self._head.startswith(b"GET ") and b"text/html" in self._head.lower()
            self._transport.write(_page() if is_person else unavailable("api_loading"))
        elif len(self._head) > LONGEST_HEAD:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        self._among.discard(self)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _page() -> bytes:
    """For a browser, which looks again by itself."""
    text = html.escape(say("cli.serving_loading_page"))
    return _answer(PAGE.format(title="Qwen Workbench", text=text).encode(), "text/html; charset=utf-8")
