"""Questions to a hub: an address in, a bounded answer out, and every way it can fail as one of a few sentences.

Owns what both hubs have in common on the wire. Invariant: all questions of one `Enquiry` end within its deadline, and
the token goes to no other host than the hub's own endpoint.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from core.errors import UserError
from core.sources import NAMES, Access

DEADLINE_S = 20.0
CONNECT_SHARE = 0.8  # of the deadline: a hub that cannot be reached is told from one that is slow
MOST_BYTES = 64 * 1024 * 1024  # of one answer; a tokenizer has some 10 MB
BUSY_S = 30  # to wait where the hub does not say how long
BUSY = (408, 425, 429)
_RATE_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """is_cut: there was more, which was not read."""

    status: int
    headers: httpx.Headers
    body: bytes
    is_cut: bool = False

    @property
    def is_refusal(self) -> bool:
        return self.status >= 400

    def decoded(self, kind: type[T]) -> T:
        """
        Raises:
            UserError: hub_unreadable, where the body is not JSON of this kind: another program, or a log-in page.
        """
        try:
            return msgspec.json.decode(self.body, type=kind, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError("hub_unreadable", reason=str(error)[:120]) from None

    def mapping(self) -> dict[str, Any]:
        """The body as a JSON object, {} where it is none."""
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return found if isinstance(found, dict) else {}


class Enquiry:
    """Questions to one hub that share one deadline."""

    def __init__(
        self, client: httpx.AsyncClient, access: Access, headers: Mapping[str, str], deadline_s: float
    ) -> None:
        self.access = access
        self._client = client
        self._headers = headers
        self._seconds = deadline_s
        self._until = time.monotonic() + deadline_s

    async def get(
        self,
        address: str,
        params: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        most: int = MOST_BYTES,
        may_cut: bool = False,
    ) -> Answer:
        """may_cut: the first `most` bytes are enough; else a longer answer is refused.

        Raises:
            UserError: hub_unreachable, hub_slow, hub_untrusted or hub_unreadable.
        """
        async with self._answers(address):
            left = max(0.0, self._until - time.monotonic())
            async with (
                asyncio.timeout(left),
                self._client.stream(
                    "GET",
                    address,
                    params=params,
                    headers={**self._headers, **(headers or {})},
                    follow_redirects=True,
                    timeout=httpx.Timeout(None, connect=left * CONNECT_SHARE),
                ) as response,
            ):
                body, is_cut = await _read(response, most)
        if is_cut and not may_cut:
            raise UserError("hub_unreadable", reason=f"> {most} bytes")
        return Answer(response.status_code, response.headers, body, is_cut)

    @asynccontextmanager
    async def _answers(self, address: str) -> AsyncIterator[None]:
        try:
            yield
        except TimeoutError:
            raise slow(self.access, self._seconds) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise failure(self.access, error, address, self._seconds) from None


async def _read(response: httpx.Response, most: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > most:
            await response.aclose()  # before the stream is left: its generators cannot wait for anything any more then
            return bytes(body[:most]), True
    return bytes(body), False


def usable_token(access: Access) -> str:
    """The token as it can stand in a header, "" for none.

    Raises:
        UserError: hub_token_refused, for something else that was pasted in its place.
    """
    token = access.token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError("hub_token_refused", hub=NAMES[access.place])
    return token


async def together(*questions: Coroutine[Any, Any, T]) -> list[T]:
    """All of them at once. The first failure ends the others too, before it is raised."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def slow(access: Access, seconds: float) -> UserError:
    return UserError("hub_slow", hub=NAMES[access.place], host=_host(access.address), seconds=f"{seconds:g}")


def failure(access: Access, error: Exception, address: str, seconds: float) -> UserError:
    """What went wrong on the way, in the user's words. The host is the one that failed: files lie on others."""
    hub, host = NAMES[access.place], _host(_asked(error) or address)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UserError("hub_untrusted", hub=hub, host=host)
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return slow(access, seconds)
    if isinstance(error, httpx.TooManyRedirects | httpx.DecodingError):
        return UserError("hub_unreadable", reason=type(error).__name__)
    return UserError("hub_unreachable", hub=hub, host=host)


def _asked(error: Exception) -> str:
    """The address that was asked when it failed, behind all redirects."""
    try:
        return str(error.request.url) if isinstance(error, httpx.RequestError) else ""
    except RuntimeError:  # it failed before there was one
        return ""


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or address[:80]
    except ValueError:
        return address[:80]


def refused(access: Access, answer: Answer) -> UserError:
    """For an answer that the hub gives no reason for which we know."""
    hub = NAMES[access.place]
    if answer.status == 407:
        return UserError("hub_proxy_login", hub=hub)
    if answer.status in BUSY or answer.status >= 500:
        return UserError("hub_busy", hub=hub, seconds=_pause(answer.headers))
    return UserError("hub_refused", hub=hub, status=str(answer.status))


def _pause(headers: httpx.Headers) -> int:
    """How many seconds the hub wants to be left alone."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return int(asked)
    if found := _RATE_LIMIT.search(headers.get("RateLimit", "")):
        return int(found[1])
    try:
        return max(1, int((parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()))
    except (ValueError, TypeError):
        return BUSY_S


def moment(value: object) -> datetime | None:
    """A point in time as hubs write it: ISO, or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, int | float) and value > 0:
            return datetime.fromtimestamp(value / 1000 if value > 1e12 else value, UTC)
        return datetime.fromisoformat(value) if isinstance(value, str) and value else None
    except (ValueError, OverflowError, OSError):
        return None


def number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def text(value: object) -> str:
    """Of a field that may be missing, null or a list."""
    if isinstance(value, list):
        return ", ".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


async def read_range(
    enquiry: Enquiry, address: str, start: int, length: int | None, refusal: Callable[[Answer], UserError | None]
) -> bytes:
    """Bytes of a file from `start` on; fewer where it ends before.

    Raises:
        UserError: as of `get`, or what `refusal` says; hub_unreadable too, where the hub sends another part.
    """
    asked = {} if not start and length is None else {"Range": f"bytes={start}-{_last(start, length)}"}
    most = MOST_BYTES if length is None else min(start + length, MOST_BYTES)  # a hub may send it from its first byte
    answer = await enquiry.get(
        address, headers={"Accept-Encoding": "identity", **asked}, most=most, may_cut=length is not None
    )
    if answer.status == 416:
        return b""
    if (error := refusal(answer)) is not None:
        raise error
    skipped = start - _begin(answer, start)
    if skipped and answer.is_cut and len(answer.body) < skipped + (length or 0):
        raise UserError("hub_unreadable", reason="Range")
    return answer.body[skipped:][:length]


def _last(start: int, length: int | None) -> str:
    return "" if length is None else str(start + length - 1)


def _begin(answer: Answer, asked: int) -> int:
    """Where the body begins in the file. ModelScope answers a range of a small file with 200 and Content-Range."""
    found = answer.headers.get("Content-Range", "")
    if not found:
        return 0 if answer.status == 200 else asked
    if not found.startswith(f"bytes {asked}-"):
        raise UserError("hub_unreadable", reason=f"Content-Range: {found[:60]}")
    return asked
