"""The door for other programs: what the front asks of it, and what it tells of the requests that come in.

Invariant: no key crosses the pipe or stands in an event, only its SHA-256; no event holds a word of a request's text.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from core.protocol.job import Job

RequestState = Literal["queued", "reading", "answering"]
RequestEnd = Literal["done", "refused", "failed", "cancelled"]


class ServedModel(Struct, frozen=True):
    """A name that requests may ask for. adapter: its folder, "" for the base alone."""

    name: str
    base: str
    adapter: str = ""


class OpenDoor(Job, frozen=True, tag=True):
    """Answer HTTP requests with the loaded model until cancelled; answered by DoorOpened, then RequestsChanged and
    RequestEnded as they happen.

    default: the name that answers where a request asks for one that is not here
    key_hashes: SHA-256 of each key that is let in, as hexadecimal digits; none needs no key
    origins: of web pages that may ask, beside those from here; names: by which this machine may be called
    keeper: the path of the Unix socket that takes care of streams if this process dies, "" for none
    """

    host: str
    port: int
    models: tuple[ServedModel, ...]
    default: str = ""
    key_hashes: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    most_waiting: int = 64
    most_body_bytes: int = 16 << 20
    keeper: str = ""


class DoorOpened(Struct, frozen=True, tag=True):
    """The port is the one in use, also where any was asked for (0)."""

    job_id: str
    host: str
    port: int


class OutsideRequest(Struct, frozen=True):
    """One request from outside, as it is now."""

    id: str
    path: str
    model: str
    client: str
    state: RequestState = "queued"
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    tokens_per_s: float = 0.0


class RequestsChanged(Struct, frozen=True, tag=True):
    """All requests that are not answered yet; told when one comes or goes, and now and then while they grow."""

    job_id: str
    live: tuple[OutsideRequest, ...]


class RequestEnded(Struct, frozen=True, tag=True):
    """code: why it was refused or has failed; malformed_calls: of tools, which were given as text"""

    job_id: str
    request: OutsideRequest
    end: RequestEnd
    status: int
    code: str = ""
    malformed_calls: int = 0


class RequestsRefused(Struct, frozen=True, tag=True):
    """Requests that were sent away before they were under way, alike ones counted together for a moment.

    path: one of the API, "" for any other, which may be made of anything; code: of the program's own error
    """

    job_id: str
    path: str
    client: str
    status: int
    code: str
    count: int = 1


ServingEvent = DoorOpened | RequestsChanged | RequestEnded | RequestsRefused
