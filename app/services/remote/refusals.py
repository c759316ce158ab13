"""Why a remote engine gave no answer, as sentences: what failed on the way, and what its server refused.

Invariant: a sentence may quote the server, in one short line, but never the key that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from core.errors import UserError
from core.remote_engine import host_of

LONGEST = 300  # characters of what a server said
REFUSED_FORM = (400, 422)  # perhaps only for a field that the server does not know
BUSY = (429, 503)


def failure(error: Exception, url: str) -> UserError:
    """What went wrong on the way. Only for errors of httpx."""
    import httpx

    host = host_of(url)
    words = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return UserError("remote_untrusted", host=host)
    if "SSL" in words or "TLS" in words:
        return UserError("remote_not_tls", host=host)
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
        return UserError("remote_unreachable", host=host)
    if isinstance(error, httpx.TimeoutException):
        return UserError("remote_slow", host=host)
    if isinstance(error, httpx.DecodingError | httpx.InvalidURL):
        return UserError("remote_not_openai", host=host, reason=type(error).__name__)
    return UserError("remote_lost")


def refusal(status: int, headers: Mapping[str, str], body: bytes, url: str, key: str, model: str = "") -> UserError:
    """What an answer with this status means. model: what was asked for, "" for a check."""
    host, message = host_of(url), quoted(body, key)
    if status in (401, 403):
        return UserError("remote_key_refused" if key else "remote_key_missing", host=host)
    if status == 407:
        return UserError("remote_proxy_login", host=host)
    if status == 404 and model and message:
        return UserError("remote_model_unknown", host=host, model=model)
    if status in (404, 405) or 200 <= status < 400:
        return UserError("remote_not_openai", host=host, reason=str(status))
    if status in BUSY:
        seconds = pause(headers)
        return (
            UserError("remote_busy_for", host=host, seconds=seconds) if seconds else UserError("remote_busy", host=host)
        )
    if status < 500:
        return UserError("remote_rejected", host=host, message=message or str(status))
    return UserError("remote_failed", message=message or f"{host}: {status}")


def pause(headers: Mapping[str, str]) -> int:
    """How many seconds the server wants to be left alone, 0 where it does not say."""
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return int(asked[:6])
    try:
        return max(1, int((parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()))
    except (ValueError, TypeError):
        return 0


def quoted(body: bytes, key: str) -> str:
    """What the server says, "" for a body that is no error as JSON."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    words = said_by(said) if isinstance(said, dict) else ""
    return words.replace(key, "•••") if key else words


def said_by(said: dict[str, Any]) -> str:
    """The sentence in an error of OpenAI's, vLLM's, SGLang's or FastAPI's shape, as one line."""
    error = said.get("error")
    inner = error if isinstance(error, dict) else said
    found = inner.get("message") or inner.get("detail") or error or said.get("detail") or ""
    if isinstance(found, list) and found and isinstance(found[0], dict):
        found = found[0].get("msg", "")
    words = found if isinstance(found, str) else str(found)
    plain = "".join(sign if sign.isprintable() else " " for sign in words)
    return " ".join(plain.split())[:LONGEST]


def usable_key(key: str) -> str:
    """As it can stand in a header, "" for none.

    Raises:
        UserError: remote_key_unusable.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError("remote_key_unusable")
    return key
