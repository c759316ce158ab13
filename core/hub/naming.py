"""Which repository a typed or pasted text means: an id, an id with a revision, or the address of a page of a hub.

Invariant: an id that comes out of here is a plain `owner/name` (on Hugging Face sometimes a name alone), safe to put
into an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from core.sources import ENDPOINTS, PLACES, Access, Place, Source

# Other names of the hubs and their mirrors, besides the endpoints the user has set.
HOSTS: dict[str, Place] = {
    "huggingface.co": "huggingface",
    "www.huggingface.co": "huggingface",
    "hf.co": "huggingface",
    "hf-mirror.com": "huggingface",
    "modelscope.cn": "modelscope",
    "www.modelscope.cn": "modelscope",
    "modelscope.ai": "modelscope",
    "www.modelscope.ai": "modelscope",
}
PREFIXES: dict[str, Place] = {
    "hf": "huggingface", "huggingface": "huggingface", "ms": "modelscope", "modelscope": "modelscope"
}  # fmt: skip
# First parts of addresses on Hugging Face that are no owners of models.
_PAGES = {
    "api", "blog", "chat", "collections", "datasets", "docs", "enterprise", "inference", "join", "kernels", "learn",
    "login", "models", "new", "organizations", "papers", "posts", "pricing", "search", "settings", "spaces", "tasks",
}  # fmt: skip
_BEFORE_REVISION = ("tree", "blob", "resolve", "raw", "commit", "commits", "view")
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_NAMED = re.compile(rf"(?:(?P<place>[a-z]+):)?(?P<id>{_PART}/{_PART})(?:@(?P<revision>[^\s@]+))?", re.ASCII)


def sources_in(text: str, accesses: Iterable[Access] = ()) -> tuple[Source, ...]:
    """The repositories that `text` names; none where it is only words to search for. An id alone may lie on either
    hub, so there are two then. accesses: whose own endpoints are known as addresses too."""
    text = text.strip().strip("<>\"'")
    if "://" in text or text.partition("/")[0].lower() in HOSTS:
        return _from_address(text if "://" in text else f"https://{text}", accesses)
    found = _NAMED.fullmatch(text)
    if found is None or not _is_safe(found["id"]):
        return ()
    revision = found["revision"] or ""
    if found["place"] is None:
        return tuple(Source(place, found["id"], revision) for place in PLACES)
    place = PREFIXES.get(found["place"])
    return (Source(place, found["id"], revision),) if place else ()


def _from_address(text: str, accesses: Iterable[Access]) -> tuple[Source, ...]:
    try:
        address = urlsplit(text)
        place, path = _placed(address, accesses)
    except ValueError:
        return ()
    if place is None:
        return ()
    parts = [unquote(part) for part in path.split("/") if part]
    asked = parse_qs(address.query)
    found = _on_huggingface(parts) if place == "huggingface" else _on_modelscope(parts)
    if found is None or not _is_safe(found[0]):
        return ()
    revision = found[1] or next((asked[name][0] for name in ("revision", "version") if name in asked), "")
    return (Source(place, found[0], revision),)


def _placed(address: SplitResult, accesses: Iterable[Access]) -> tuple[Place | None, str]:
    """The hub, and the path below its endpoint."""
    known = [*accesses, *(Access(place) for place in ENDPOINTS)]
    for access in sorted(known, key=lambda access: -len(access.address)):
        endpoint = urlsplit(access.address)
        same = (endpoint.hostname, endpoint.port) == (address.hostname, address.port)
        if same and f"{address.path}/".startswith(f"{endpoint.path}/"):
            return access.place, address.path.removeprefix(endpoint.path)
    return HOSTS.get(address.hostname or ""), address.path


def _on_huggingface(parts: list[str]) -> tuple[str, str] | None:
    if parts[:2] == ["api", "models"] or parts[:1] == ["models"]:
        parts = parts[2 if parts[0] == "api" else 1 :]
    if not parts or parts[0].lower() in _PAGES:
        return None
    size = 1 if len(parts) == 1 or parts[1] in _BEFORE_REVISION else 2
    return "/".join(parts[:size]).removesuffix(".git"), _revision(parts[size:])


def _on_modelscope(parts: list[str]) -> tuple[str, str] | None:
    if parts[:2] == ["api", "v1"] or parts[:2] == ["openapi", "v1"]:
        parts = parts[2:]
    if parts[:1] == ["models"]:
        parts = parts[1:]
    elif len(parts) != 2 or not parts[1].endswith(".git"):  # how git knows it
        return None
    return ("/".join(parts[:2]).removesuffix(".git"), _revision(parts[2:])) if len(parts) > 1 else None


def _revision(parts: list[str]) -> str:
    """Of the parts behind the id: tree/main/..., file/view/master/..."""
    for before, after in pairwise(parts):
        if before in _BEFORE_REVISION:
            return after
    return ""


def _is_safe(id: str) -> bool:
    return ".." not in id and all(re.fullmatch(_PART, part, re.ASCII) for part in id.split("/"))
