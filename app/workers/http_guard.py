"""Who may ask: host, web pages, key and length of the body, checked before anything of a request is read.

Owns the answers to preflights and the headers for pages of other origins. Invariant: a page that the user looks at can
have nothing done here unless its origin is allowed, and no key is compared in a time that tells of it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.serving.refusals import Refusal

log = logging.getLogger("serving")

READING = ("GET", "HEAD")
METHODS = "GET, POST, OPTIONS"
JSON = (b"content-type", b"application/json")


class Guard:
    def __init__(
        self,
        app: ASGIApp,
        *,
        key_hashes: Sequence[str],
        origins: Collection[str],
        names: Collection[str],
        most: int,
        open_paths: Collection[str],
        refused: Callable[[Refusal, Scope], None] = lambda refusal, scope: None,
    ) -> None:
        """names: by which this machine may be called, beside its addresses; most: bytes of a body
        open_paths: that tell nothing which would need a key, to read
        refused: told of each that is sent away
        """
        self._app, self._most, self._open_paths = app, most, frozenset(open_paths)
        self._refused = refused
        self._key_hashes, self._origins = key_hashes, frozenset(origins)
        self._names = frozenset(name.lower() for name in names) | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        told = _Told(send, origin if self._lets_in(origin) and origin else "")
        try:
            self._check(scope, headers, origin)
        except Refusal as refusal:
            self._refused(refusal, scope)
            await told.refuse(refusal)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await told.allow(headers.get("access-control-request-headers", ""))
            return
        if scope["method"] == "POST":  # every body is JSON, whatever a client calls it or forgets to
            scope = {**scope, "headers": [*_without_type(scope["headers"]), JSON]}
        body = _Bounded(receive, self._most)
        try:
            await self._app(scope, body.receive, told.send)
        except Exception:  # a bug, of which the client has been told; its connection is good for more
            log.exception("a request was not answered")

    def _check(self, scope: Scope, headers: Headers, origin: str) -> None:
        name = _host_name(headers.get("host", ""))
        if not name:
            raise Refusal("api_host_missing")
        if not (name in self._names or _is_address(name)):
            raise Refusal("api_host_refused", host=name[:100])
        if origin and not (self._lets_in(origin) or _host_of(origin) == headers.get("host", "")):
            raise Refusal("api_origin_refused", origin=origin[:100])
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > self._most:
            raise Refusal("api_body_too_large", limit=self._most >> 20)
        is_read = scope["method"] in READING and scope["path"] in self._open_paths
        is_free = is_read or scope["method"] == "OPTIONS"
        if self._key_hashes and not is_free and not self._knows(headers.get("authorization", "")):
            raise Refusal("api_key_wrong")

    def _lets_in(self, origin: str) -> bool:
        return origin in self._origins or "*" in self._origins

    def _knows(self, authorization: str) -> bool:
        kind, _, key = authorization.partition(" ")
        given = hashlib.sha256(key.strip().encode("latin-1", "replace")).hexdigest()
        matches = [hmac.compare_digest(given, known) for known in self._key_hashes]
        return kind.lower() == "bearer" and any(matches)


class _Told:
    """What is sent, with the headers for a page of another origin."""

    def __init__(self, send: Send, origin: str) -> None:
        self._send, self._origin = send, origin
        self._has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            headers = MutableHeaders(scope=message)
            headers["x-content-type-options"] = "nosniff"
            if self._origin:
                headers["access-control-allow-origin"] = self._origin
                headers.add_vary_header("Origin")
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        if self._has_begun:
            return
        extra = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
        await self._answer(refusal.status, refusal.body, {"connection": "close", **extra})

    async def allow(self, headers: str) -> None:
        named = {"access-control-allow-methods": METHODS, "access-control-allow-headers": headers or "*"}
        await self._answer(204, None, named | {"access-control-max-age": "600"})

    async def _answer(self, status: int, body: dict[str, Any] | None, headers: dict[str, str]) -> None:
        data = b"" if body is None else msgspec.json.encode(body)
        headers = headers | ({"content-type": "application/json"} if data else {}) | {"content-length": str(len(data))}
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": data})


class _Bounded:
    """A body that raises when it is longer than allowed, for those that do not say so before."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413)
        return message


def _without_type(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() != JSON[0]]


def _host_name(host: str) -> str:
    """Without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.rpartition(":")[2].isdigit() and ":" in host else host.lower()


def _host_of(origin: str) -> str:
    return origin.partition("://")[2]


def _is_address(name: str) -> bool:
    """A page of another site cannot come by way of one: only a name can be bent to point here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
