"""What is kept of a remote engine: another machine that answers as OpenAI's servers do, and which of its models to use.

Owns how its address is read and how its models are called here: `engine/model`. Invariant: an address holds no user
name, password or query, and a key is never part of these values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct

from core.errors import UserError

LONGEST_NAME = 40
_VERSION = re.compile(r"/v\d+\w*(/|$)")  # of an API, as in /v1 or /v1beta/openai
_ENDINGS = ("/chat/completions", "/completions", "/models")  # of what people paste


class RemoteModel(Struct, frozen=True):
    """id: as the other machine calls it; context_length: in tokens, 0 where it does not say"""

    id: str
    context_length: int = 0


class RemoteEngine(Struct, frozen=True):
    """name: the user's word for it, without a slash; url: what `/chat/completions` is added to; models: those that are
    offered in the chat"""

    name: str
    url: str
    models: tuple[RemoteModel, ...] = ()

    def called(self, model: RemoteModel) -> str:
        """The name of a model of it on this machine: with the last part of its id, where only one of them ends so."""
        short = _last(model.id)
        is_alone = sum(_last(one.id) == short for one in self.models) <= 1
        return f"{self.name}/{short if is_alone else model.id}"

    @property
    def is_encrypted(self) -> bool:
        return self.url.startswith("https://")

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether what is asked and answered leaves this machine as plain text."""
        return not self.is_encrypted and not is_loopback(self.url)


def find(engines: Sequence[RemoteEngine], name: str) -> tuple[RemoteEngine, RemoteModel] | None:
    """The model called `engine/model`, by its id or the last part of it. An engine is asked for models that were not
    chosen, too."""
    head, slash, asked = name.partition("/")
    engine = next((one for one in engines if one.name.lower() == head.lower()), None)
    if not slash or not asked or engine is None:
        return None
    exact = [model for model in engine.models if model.id == asked]
    short = [model for model in engine.models if _last(model.id) == asked]
    return engine, (*exact, *short, RemoteModel(asked))[0]


def _last(id: str) -> str:
    """Servers call a model by its repository, or by the folder that it lies in."""
    return id.rstrip("/").rpartition("/")[2]


def checked_name(name: str, others: Sequence[str]) -> str:
    """`name` as it can be used on a command line.

    Raises:
        UserError: remote_name_empty, remote_name_unusable, remote_name_taken.
    """
    name = name.strip()
    if not name:
        raise UserError("remote_name_empty")
    if not re.fullmatch(r"[\w][\w.-]*", name) or len(name) > LONGEST_NAME:
        raise UserError("remote_name_unusable", name=name[:LONGEST_NAME], longest=LONGEST_NAME)
    if name.lower() in {other.lower() for other in others}:
        raise UserError("remote_name_taken", name=name)
    return name


def checked_url(text: str) -> str:
    """The address without what people paste along: blanks, the path of a request, a slash at the end.

    Raises:
        UserError: remote_url_unusable, remote_url_secret.
    """
    url = text.strip().rstrip("/")
    if url and "://" not in url:
        url = f"http://{url}" if is_loopback(f"http://{url}") else f"https://{url}"
    for ending in _ENDINGS:
        url = url.removesuffix(ending)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(sign.isspace() for sign in url):
        raise UserError("remote_url_unusable", url=text.strip()[:100])
    if parts.username is not None or parts.query or parts.fragment:
        raise UserError("remote_url_secret")
    return url.rstrip("/")


def bases(url: str) -> tuple[str, ...]:
    """Where its API may lie, the likeliest first."""
    return (url,) if _VERSION.search(urlsplit(url).path) else (f"{url}/v1", url)


def host_of(url: str) -> str:
    """For people: without the path."""
    try:
        return urlsplit(url).netloc or url[:80]
    except ValueError:  # of settings that were written by hand
        return url[:80]


def is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
