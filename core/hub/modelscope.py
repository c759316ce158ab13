"""Asks ModelScope: what is there, what a repository holds, bytes of its files.

Two interfaces answer: /openapi/v1 about repositories, /api/v1 about their files; the latter says most failures in the
body, some of them with status 200. Invariant: what `describe` gives out is pinned to a commit where the hub says one.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from core.errors import UserError
from core.hub.asking import (
    DEADLINE_S,
    Answer,
    Enquiry,
    moment,
    number,
    read_range,
    refused,
    text,
    together,
    usable_token,
)
from core.hub.repository import Found, RepoFile, Repository, safe_path
from core.sources import NAMES, Access, Source

DEFAULT_REVISION = "master"
MOST_FOUND = 50  # of one page
MOST_LISTED = 3000  # files; a listing of so many was cut without a word
BUSY_S = 30
LICENCES = {"apache license 2.0": "apache-2.0", "mit license": "mit"}  # as the hub spells them, and as cards do
_COMMIT = re.compile(r"[0-9a-f]{40}")

# What /api/v1 says in `Code`, and /openapi/v1 in `code`.
_NOT_FOUND = (10010205001, "ResourceNotFound")
_NO_ACCESS = (10010200001, "OperationNotAllowed")
_NO_REVISION = (10990101004,)
_BAD_TOKEN = (10010103009, "InvalidAuthentication")
_TOO_MANY = ("RateLimitExceed", "QuotaLimitExceed")


async def search(
    client: httpx.AsyncClient, access: Access, words: str, limit: int, *, deadline_s: float = DEADLINE_S
) -> list[Found]:
    """Repositories whose names begin with `words`, the most fetched ones first.

    Raises:
        UserError: hub_*.
    """
    enquiry = Enquiry(client, access, headers(access), deadline_s)
    found: list[Found] = []
    size = max(1, min(limit, MOST_FOUND))
    for number_of_page in range(1, -(-limit // size) + 1):
        params = {"search": words, "sort": "downloads", "page_number": str(number_of_page), "page_size": str(size)}
        data = await _data(enquiry, f"{access.address}/openapi/v1/models", params, None)
        rows = data.get("models") or []
        found += [_found(row) for row in rows if isinstance(row, dict) and text(row.get("id")).count("/") == 1]
        if len(rows) < size:
            break
    return found[:limit]


async def describe(
    client: httpx.AsyncClient, access: Access, source: Source, *, deadline_s: float = DEADLINE_S
) -> Repository:
    """
    Raises:
        UserError: hub_*.
    """
    enquiry = Enquiry(client, access, headers(access), deadline_s)
    facts, pin = await together(_facts(enquiry, source), _pin(enquiry, source))
    commit = str(pin["commit"])
    files = await _files(enquiry, source, commit)
    licence = text(facts.get("license") or facts.get("License"))
    return Repository(
        source=Source("modelscope", _canonical(facts) or source.id, source.revision),
        commit=commit,
        files=tuple(files),
        licence=LICENCES.get(licence.lower(), licence),
        licence_link=_licence_link(access, source, commit, files),
        gated=bool(facts.get("gated") or facts.get("login_required")),
        updated=moment(facts.get("last_modified") or facts.get("LastUpdatedTime")),
    )


def address(access: Access, repository: Repository, path: str) -> str:
    """Where a file of a repository lies. The hub redirects from there to where large files are stored."""
    asked = urlencode({"Revision": repository.commit, "FilePath": path})
    return f"{_api(access, repository.source)}/repo?{asked}"


def headers(access: Access) -> dict[str, str]:
    """For requests to this endpoint only. Its older interface knows accounts by the cookie.

    Raises:
        UserError: hub_token_refused.
    """
    token = usable_token(access)
    return {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else {}


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
    return f"{access.address}/models/{quote(source.id)}"


def refusal(access: Access, answer: Answer, source: Source | None, path: str = "") -> UserError | None:
    """Why the hub does not give what was asked for, None where it does."""
    body = answer.mapping() if answer.is_refusal or len(answer.body) < 10_000 else {}
    code, said = _code(body)
    if not answer.is_refusal and not _says_failure(body, code):
        return None
    if answer.status >= 500 or answer.status == 429:
        return refused(access, answer)
    hub = NAMES[access.place]
    if code in _BAD_TOKEN or (answer.status == 401 and access.token):
        return UserError("hub_token_refused", hub=hub)
    if code in _TOO_MANY or (code in _NOT_FOUND and not _means_missing(code, said)):
        return UserError("hub_busy", hub=hub, seconds=BUSY_S)
    if source is None:
        return refused(access, answer) if answer.is_refusal else _refused_inside(hub, code)
    if code in _NO_ACCESS or answer.status in (401, 403):
        return UserError("hub_gated", id=source.id, hub=hub, link=page(access, source))
    if code in _NO_REVISION:
        return _unknown_revision(source, hub)
    if path and (code in _NOT_FOUND or answer.status == 404 or not answer.is_refusal):
        return UserError("hub_unknown_file", id=source.id, hub=hub, file=path)
    if code in _NOT_FOUND or answer.status == 404:
        return UserError("hub_unknown_repository", id=source.id, hub=hub)
    return refused(access, answer) if answer.is_refusal else _refused_inside(hub, code)


def _means_missing(code: object, said: str) -> bool:
    """The hub says "not found" with this code, but also that its database is out of breath."""
    return isinstance(code, str) or "not found" in said.lower() or "不存在" in said


def _refused_inside(hub: str, code: object) -> UserError:
    return UserError("hub_refused", hub=hub, status=str(code))


def _unknown_revision(source: Source, hub: str) -> UserError:
    return UserError("hub_unknown_revision", id=source.id, hub=hub, revision=source.revision or DEFAULT_REVISION)


def _code(body: dict[str, Any]) -> tuple[int | str, str]:
    code = body.get("Code", body.get("code"))
    said = text(body.get("Message") or body.get("message"))
    if isinstance(code, str) and code.isdecimal():
        code = int(code)
    return (code if isinstance(code, int | str) else 0), said


def _says_failure(body: dict[str, Any], code: int | str) -> bool:
    """In the body alone. What a file of a model says is not taken for it."""
    if body.get("Success", body.get("success")) is False:
        return True
    return isinstance(code, int) and code not in (0, 200) and "Message" in body


async def _data(enquiry: Enquiry, place: str, params: dict[str, str] | None, source: Source | None) -> dict[str, Any]:
    """What an envelope holds."""
    answer = await enquiry.get(place, params)
    if (error := refusal(enquiry.access, answer, source)) is not None:
        raise error
    body = answer.mapping()
    data = body.get("Data", body.get("data"))
    if not isinstance(data, dict):
        raise UserError("hub_unreadable", reason="Data")
    return data


async def _facts(enquiry: Enquiry, source: Source) -> dict[str, Any]:
    """Of the repository, by the documented interface; by the older one where that one does not know it yet."""
    try:
        return await _data(enquiry, f"{enquiry.access.address}/openapi/v1/models/{quote(source.id)}", None, source)
    except UserError as error:
        if error.code not in ("hub_unknown_repository", "hub_unreadable"):
            raise
    return await _data(enquiry, _api(enquiry.access, source), None, source)


async def _pin(enquiry: Enquiry, source: Source) -> dict[str, Any]:
    """The commit that a branch or a tag stands for at the moment, or its name where the hub does not say."""
    name = source.revision or DEFAULT_REVISION
    if _COMMIT.fullmatch(name):
        return {"commit": name}
    place = _api(enquiry.access, source)
    try:
        data = await _data(enquiry, f"{place}/commits", {"Ref": name, "PageSize": "1"}, source)
    except UserError as error:
        if error.code not in ("hub_unknown_repository", "hub_unreadable", "hub_refused"):
            raise
        return {"commit": _revision_of(await _data(enquiry, f"{place}/revisions", None, source), name, source)}
    commits = data.get("Commit") or []
    if not commits:
        raise _unknown_revision(source, NAMES[enquiry.access.place])
    found = text(commits[0].get("Id")) if isinstance(commits[0], dict) else ""
    return {"commit": found if _COMMIT.fullmatch(found) else name}


def _revision_of(data: dict[str, Any], name: str, source: Source) -> str:
    """By the list of branches and tags, which need not say their commits."""
    known = data.get("RevisionMap") or {}
    rows = [row for kind in ("Branches", "Tags") for row in known.get(kind) or [] if isinstance(row, dict)]
    for row in rows:
        if row.get("Revision") == name:
            commit = text(row.get("CommitId"))
            return commit if _COMMIT.fullmatch(commit) else name
    if rows:
        raise _unknown_revision(source, NAMES["modelscope"])
    return name


async def _files(enquiry: Enquiry, source: Source, commit: str) -> list[RepoFile]:
    place = f"{_api(enquiry.access, source)}/repo/files"
    rows: list[Any] = []
    for recursive in ("True", "False"):  # what a model needs lies in its top folder, should the whole not be told
        data = await _data(enquiry, place, {"Revision": commit, "Recursive": recursive}, source)
        rows = data.get("Files") or []
        if len(rows) < MOST_LISTED:
            break
    else:
        raise UserError("hub_unreadable", reason=f"> {MOST_LISTED} files")
    if not rows:  # an unknown revision is no error for the hub
        raise _unknown_revision(source, NAMES[enquiry.access.place])
    files = [row for row in rows if isinstance(row, dict) and row.get("Type") != "tree" and row.get("Path")]
    return [
        RepoFile(safe_path(text(row["Path"])), number(row.get("Size")), sha256=text(row.get("Sha256")).lower())
        for row in files
    ]


def _found(row: dict[str, Any]) -> Found:
    tags = [tag for tag in row.get("tags") or [] if isinstance(tag, str)]
    licence = text(row.get("license")) or _tagged(tags, "license:")
    tasks = [task for task in row.get("tasks") or [] if isinstance(task, str)]
    return Found(
        source=Source("modelscope", text(row.get("id"))),
        downloads=number(row.get("downloads")),
        likes=number(row.get("likes")),
        updated=moment(row.get("last_modified")),
        task=tasks[0] if tasks else _tagged(tags, "task:"),
        licence=LICENCES.get(licence.lower(), licence),
        gated=bool(row.get("gated") or row.get("login_required")),
        parameters=number(row.get("params")),
    )


def _tagged(tags: list[str], kind: str) -> str:
    return next((tag.removeprefix(kind) for tag in tags if tag.startswith(kind)), "")


def _canonical(facts: dict[str, Any]) -> str:
    """The id in the spelling of the hub."""
    found = (text(facts.get("id")), f"{text(facts.get('Path'))}/{text(facts.get('Name'))}")
    return next((id for id in found if all(id.split("/")) and id.count("/") == 1), "")


def _licence_link(access: Access, source: Source, commit: str, files: list[RepoFile]) -> str:
    found = next((file.path for file in files if file.path.upper().startswith("LICEN")), "")
    return f"{page(access, source)}/file/view/{quote(commit, safe='')}/{quote(found)}" if found else ""


def _api(access: Access, source: Source) -> str:
    return f"{access.address}/api/v1/models/{quote(source.id)}"
