"""Asks Hugging Face, or a mirror that speaks its interface: what is there, what a repository holds, bytes of its files.

Invariant: what `describe` gives out is pinned to a commit, so that everything read or fetched by it is of one version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import msgspec
from msgspec import Struct

from core.errors import UserError
from core.hub.asking import DEADLINE_S, Answer, Enquiry, moment, number, read_range, refused, text, usable_token
from core.hub.repository import Found, RepoFile, Repository, safe_path
from core.sources import NAMES, Access, Source

DEFAULT_REVISION = "main"
MOST_FOUND = 100  # of one page
EXPANDED = ["downloads", "likes", "lastModified", "pipeline_tag", "tags", "gated", "safetensors", "gguf"]
_BAD_TOKEN = ("credentials", "token")  # in the hub's own words for a 401


class _Lfs(Struct):
    sha256: str = ""
    size: int = 0


class _Sibling(Struct):
    rfilename: str
    size: int | None = None
    blobId: str | None = None
    lfs: _Lfs | None = None


class _Model(Struct, rename="camel"):
    """Of one repository; the fields that are missing in a search are those of its files."""

    id: str
    sha: str = ""
    gated: bool | str = False
    downloads: int | None = None
    likes: int | None = None
    last_modified: str | None = None
    task: str | None = msgspec.field(name="pipeline_tag", default=None)
    tags: list[str] | None = None
    safetensors: Any = None
    gguf: Any = None
    card_data: Any = None
    siblings: list[_Sibling] = []


async def search(
    client: httpx.AsyncClient, access: Access, words: str, limit: int, *, deadline_s: float = DEADLINE_S
) -> list[Found]:
    """Repositories that have `words` in their names, the most fetched ones first.

    Raises:
        UserError: hub_*.
    """
    enquiry = Enquiry(client, access, headers(access), deadline_s)
    params: dict[str, str | list[str]] = {
        "search": words, "limit": str(min(limit, MOST_FOUND)), "sort": "downloads", "direction": "-1",
        "expand": EXPANDED,
    }  # fmt: skip
    found: list[Found] = []
    while params and len(found) < limit:
        answer = await enquiry.get(f"{access.address}/api/models", params)
        if (error := refusal(access, answer, None)) is not None:
            raise error
        found += _rows(answer)
        params = _next_page(answer)
    return found[:limit]


async def describe(
    client: httpx.AsyncClient, access: Access, source: Source, *, deadline_s: float = DEADLINE_S
) -> Repository:
    """
    Raises:
        UserError: hub_*.
    """
    enquiry = Enquiry(client, access, headers(access), deadline_s)
    revision = quote(source.revision or DEFAULT_REVISION, safe="")
    answer = await enquiry.get(f"{access.address}/api/models/{quote(source.id)}/revision/{revision}", {"blobs": "true"})
    if (error := refusal(access, answer, source)) is not None:
        raise error
    model = answer.decoded(_Model)
    licence, link = _licence(model, access)
    return Repository(
        source=Source("huggingface", model.id, source.revision),  # renamed ones go by their new name from here on
        commit=model.sha or source.revision or DEFAULT_REVISION,
        files=tuple(_file(sibling) for sibling in model.siblings),
        licence=licence,
        licence_link=link,
        gated=bool(model.gated),
        updated=moment(model.last_modified),
    )


def address(access: Access, repository: Repository, path: str) -> str:
    """Where a file of a repository lies. The hub redirects from there to where its bytes are stored."""
    return f"{access.address}/{quote(repository.source.id)}/resolve/{quote(repository.commit, safe='')}/{quote(path)}"


def headers(access: Access) -> dict[str, str]:
    """For requests to this endpoint only.

    Raises:
        UserError: hub_token_refused.
    """
    token = usable_token(access)
    return {"Authorization": f"Bearer {token}"} if token else {}


async def read_bytes(
    client: httpx.AsyncClient,
    access: Access,
    repository: Repository,
    path: str,
    start: int = 0,
    length: int | None = None,
    *,
    deadline_s: float = DEADLINE_S,
) -> bytes:
    """A part of a file, by default all of it.

    Raises:
        UserError: hub_*.
    """
    enquiry = Enquiry(client, access, headers(access), deadline_s)
    place = address(access, repository, path)
    return await read_range(
        enquiry, place, start, length, lambda answer: refusal(access, answer, repository.source, path)
    )


def page(access: Access, source: Source) -> str:
    """The repository's page for people."""
    return f"{access.address}/{quote(source.id)}"


def refusal(access: Access, answer: Answer, source: Source | None, path: str = "") -> UserError | None:
    """Why the hub does not give what was asked for, None where it does."""
    if not answer.is_refusal:
        return None
    hub, id = NAMES[access.place], source.id if source else ""
    said = answer.headers.get("X-Error-Message") or text(answer.mapping().get("error"))
    code = answer.headers.get("X-Error-Code", "")
    if source and code == "GatedRepo":
        return UserError("hub_gated", id=id, hub=hub, link=page(access, source))
    if source and code == "RevisionNotFound":
        return UserError("hub_unknown_revision", id=id, hub=hub, revision=source.revision or DEFAULT_REVISION)
    if code == "EntryNotFound":
        return UserError("hub_unknown_file", id=id, hub=hub, file=path)
    if access.token and answer.status in (401, 403) and any(word in said.lower() for word in _BAD_TOKEN):
        return UserError("hub_token_refused", hub=hub)
    if code == "RepoNotFound" or (
        source and answer.status in (401, 404)
    ):  # which it is the hub does not tell everybody
        return UserError("hub_unknown_repository", id=id, hub=hub)
    return refused(access, answer)


def _rows(answer: Answer) -> Iterable[Found]:
    for raw in answer.decoded(list[msgspec.Raw]):
        try:
            model = msgspec.json.decode(raw, type=_Model, strict=False)
        except msgspec.ValidationError:  # one odd row is no reason to show none
            continue
        yield Found(
            source=Source("huggingface", model.id),
            downloads=model.downloads or 0,
            likes=model.likes or 0,
            updated=moment(model.last_modified),
            task=model.task or "",
            licence=_tagged_licence(model),
            gated=bool(model.gated),
            parameters=_total(model.safetensors) or _total(model.gguf),
        )


def _next_page(answer: Answer) -> dict[str, str | list[str]]:
    """The question for the next page, {} at the last one. Only what it asks is taken from the link: a mirror may name
    the host it mirrors."""
    found = httpx.Response(200, headers=answer.headers).links.get("next", {}).get("url", "")
    params: dict[str, str | list[str]] = {}
    for name, value in parse_qsl(urlsplit(found).query):
        before = params.get(name)
        params[name] = value if before is None else [*([before] if isinstance(before, str) else before), value]
    return params


def _file(sibling: _Sibling) -> RepoFile:
    path = safe_path(sibling.rfilename)
    if sibling.lfs is not None:
        return RepoFile(path, sibling.lfs.size or sibling.size or 0, sha256=sibling.lfs.sha256)
    return RepoFile(path, sibling.size or 0, git_oid=sibling.blobId or "")


def _licence(model: _Model, access: Access) -> tuple[str, str]:
    """Its name and where its text stands. "other" on a card means that the name stands in another field."""
    card = model.card_data if isinstance(model.card_data, dict) else {}
    name = text(card.get("license"))
    if name in ("", "other"):
        name = text(card.get("license_name")) or name or _tagged_licence(model)
    link = text(card.get("license_link"))
    file = link or next((s.rfilename for s in model.siblings if s.rfilename.upper().startswith("LICEN")), "")
    if not file or "://" in file:
        return name, file
    return name, f"{access.address}/{quote(model.id)}/blob/{quote(model.sha, safe='')}/{quote(file)}"


def _tagged_licence(model: _Model) -> str:
    return next((tag.removeprefix("license:") for tag in model.tags or () if tag.startswith("license:")), "")


def _total(counted: Any) -> int:
    return number(counted.get("total")) if isinstance(counted, dict) else 0
