"""The connections to remote engines: how they are opened, how a server is checked, and one answer as it comes.

Invariant: the key goes to the address it is kept for and nowhere else (redirects are not followed); a check ends within
CHECK_S, and an answer that stands still within SILENCE_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from app.services.remote.refusals import failure, refusal, usable_key
from core.errors import UserError
from core.remote_engine import RemoteModel, bases, host_of, is_loopback

if TYPE_CHECKING:
    import httpx

CHECK_S = 15.0
CONNECT_S = 10.0
SILENCE_S = 300.0  # a long prompt on a busy cluster takes minutes
MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """url: under which the API really lies; models: those the server offers, by their ids"""

    url: str
    models: tuple[RemoteModel, ...]


class RemoteClient:
    """Two kinds of connections: to this machine, and to others by the proxy of the settings."""

    def __init__(self, proxy: Callable[[], str]) -> None:
        self._proxy = proxy
        self._made: dict[tuple[bool, str], httpx.AsyncClient] = {}
        self._making = asyncio.Lock()

    async def check(self, url: str, key: str) -> Found:
        """What answers at an address.

        Raises:
            UserError: remote_*, proxy_unusable.
        """
        problem: UserError | None = None
        try:
            async with asyncio.timeout(CHECK_S):
                for base in bases(url):
                    try:
                        return Found(base, await self._models(base, key))
                    except UserError as error:
                        if error.code != "remote_not_openai":
                            raise
                        problem = problem or error
        except TimeoutError:
            raise UserError("remote_slow", host=host_of(url)) from None
        assert problem is not None
        raise problem

    async def _models(self, base: str, key: str) -> tuple[RemoteModel, ...]:
        async with self._answer("GET", base, "/models", key) as response:
            body = await read_body(response, MOST_BYTES)
            if response.status_code != 200:
                raise refusal(response.status_code, response.headers, body, base, key)
        models = models_in(body)
        if models is None:
            kind = response.headers.get("content-type", "").partition(";")[0] or "?"
            raise UserError("remote_not_openai", host=host_of(base), reason=kind)
        return models

    @asynccontextmanager
    async def chat(self, url: str, key: str, body: bytes) -> AsyncIterator[httpx.Response]:
        """The answer to a request, whatever its status; left early, the connection is closed."""
        async with self._answer("POST", url, "/chat/completions", key, body) as response:
            yield response

    @asynccontextmanager
    async def _answer(
        self, verb: str, base: str, path: str, key: str, body: bytes = b""
    ) -> AsyncIterator[httpx.Response]:
        client = await self._client(base)
        import httpx

        headers = {"Authorization": f"Bearer {usable_key(key)}"} if key else {}
        if body:
            headers |= {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        try:
            asked = client.stream(verb, f"{base}{path}", content=body or None, headers=headers, timeout=timeout)
            async with asked as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise failure(error, base) from None

    async def _client(self, url: str) -> httpx.AsyncClient:
        """In a thread: its imports and certificates take longer than a frame."""
        is_here = is_loopback(url)
        wanted = is_here, "" if is_here else self._proxy()
        async with self._making:
            if wanted not in self._made:
                self._made[wanted] = await asyncio.to_thread(_open, *wanted)
            return self._made[wanted]

    async def close(self) -> None:
        while self._made:
            _, client = self._made.popitem()
            await client.aclose()


async def chunks_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Left early, it closes the connection before the generators of httpx are, which cannot wait for anything then."""
    chunks = response.aiter_bytes()  # a name, so that it lives until the connection is closed
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await response.aclose()


async def read_body(response: httpx.Response, most: int) -> bytes:
    """
    Raises:
        UserError: remote_unreadable, for more than `most` bytes.
    """
    body = bytearray()
    async with aclosing(chunks_of(response)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise UserError("remote_unreadable", reason=f"> {most} bytes")
    return bytes(body)


def _open(is_here: bool, proxy: str) -> httpx.AsyncClient:
    import httpx

    from core.hub.client import open_client

    if is_here:  # a proxy of the environment has no way to this machine
        return httpx.AsyncClient(trust_env=False, headers={"User-Agent": "qwen-workbench"})
    return open_client(proxy)


def models_in(body: bytes) -> tuple[RemoteModel, ...] | None:
    """Of an answer to GET /models; None where it is none."""
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    rows = said.get("data") if isinstance(said, dict) else None
    if not isinstance(rows, list):
        return None
    cards = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]]
    return tuple(RemoteModel(card["id"], _length(card)) for card in cards)


def _length(card: dict[str, Any]) -> int:
    """In tokens: vLLM and SGLang say max_model_len, others context_length; 0 where nothing is said."""
    for name in ("max_model_len", "context_length"):
        value = card.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
