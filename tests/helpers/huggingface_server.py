"""A loopback server that speaks Hugging Face's interface: search with pages, repositories pinned to commits, files by
redirects to where they are stored, gates and tokens, renamed repositories, errors by their own headers."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from tests.helpers.hub_server import UPDATED, HubServer, Published, Reply, Request, StoredFile

_API = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)(?:/(?P<verb>revision|tree)/(?P<revision>[^/]+)(?:/(?P<path>.*))?)?")
_RESOLVE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_KEPT = re.compile(r"/api/resolve-cache/models/(?P<id>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<path>.+)")


class HuggingFaceServer(HubServer):
    """
    Attributes:
        renamed: the new ids of repositories by their old ones
        page_size: the most rows of a listing that come at once
    """

    branch = "main"

    def __init__(self, prefix: str = "") -> None:
        super().__init__(prefix)
        self.renamed: dict[str, str] = {}
        self.page_size = 100

    def reply(self, request: Request, path: str) -> Reply:
        encoded = urlsplit(request.address).path.removeprefix(self.prefix)  # revisions may hold an escaped slash
        if request.token and request.token not in self.accounts:
            message = "Invalid credentials in Authorization header"
            return _error(401, "", message)
        if path == "/api/models":
            return self._listing(request)
        if found := _KEPT.fullmatch(encoded):
            return self._kept(request, *(unquote(part) for part in found.groups()))
        if found := _API.fullmatch(encoded):
            return self._api(request, {name: unquote(value or "") for name, value in found.groupdict().items()})
        if found := _RESOLVE.fullmatch(encoded):
            return self._resolve(request, *(unquote(part) for part in found.groups()))
        return _error(404, "", "Sorry, we can't find the page you are looking for.")

    def _listing(self, request: Request) -> Reply:
        asked = parse_qs(urlsplit(request.address).query)
        words = request.query.get("search", "").lower()
        rows = [one for one in self.repositories.values() if words in one.id.lower() and not one.private]
        if author := request.query.get("author"):
            rows = [one for one in rows if one.id.startswith(f"{author}/")]
        rows.sort(key=lambda one: -one.downloads)
        start = int(request.query.get("cursor", "0"))
        size = min(int(request.query.get("limit", "1000")), self.page_size)
        page = [self._row(one, asked) for one in rows[start : start + size]]
        headers = {}
        if start + size < len(rows):
            again = urlencode({**asked, "cursor": [str(start + size)]}, doseq=True)
            headers["Link"] = f'<https://huggingface.co/api/models?{again}>; rel="next"'
            if not self.is_mirror:
                headers["Link"] = f'<{self.address}/api/models?{again}>; rel="next"'
        return Reply.json(page, headers=headers)

    is_mirror = False  # a mirror hands on links with the name of the hub it mirrors

    def _row(self, one: Published, asked: dict[str, list[str]]) -> dict[str, Any]:
        licence = [f"license:{one.card['license']}"] if one.card.get("license") else []
        fields: dict[str, Any] = {
            "_id": one.commit[:24], "id": one.id, "modelId": one.id, "likes": one.likes, "private": one.private,
            "downloads": one.downloads, "tags": ["transformers", *licence], "pipeline_tag": one.task,
            "library_name": "transformers", "createdAt": UPDATED,
        }  # fmt: skip
        more: dict[str, Any] = {"lastModified": UPDATED, "gated": "manual" if one.gated else False}
        if one.parameters:
            more["safetensors"] = {"parameters": {"BF16": one.parameters}, "total": one.parameters}
        if expand := asked.get("expand"):
            everything = fields | more
            kept = ("_id", "id", "modelId", *expand)
            return {name: everything[name] for name in kept if name in everything}
        return fields | more if "full" in asked else fields

    def _api(self, request: Request, found: dict[str, str]) -> Reply:
        id, revision = found["id"], found["revision"] or self.branch
        if new := self.renamed.get(id):
            rest = urlsplit(request.address).path.partition(f"/api/models/{id}")[2]
            query = urlsplit(request.address).query
            return Reply.redirect(f"{self.prefix}/api/models/{new}{rest}{'?' * bool(query)}{query}", 307)
        one = self.repositories.get(id)
        if one is None or (one.private and not self.may_read(request, one)):
            return _unknown(request)
        if (commit := one.resolved(revision)) is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if found["verb"] == "tree":
            return Reply.json([self._leaf(path, file) for path, file in one.files.items()])
        return Reply.json(self._info(one, commit, with_blobs=request.query.get("blobs", "").lower() == "true"))

    def _info(self, one: Published, commit: str, *, with_blobs: bool) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for path, file in one.files.items():
            row: dict[str, Any] = {"rfilename": path}
            if with_blobs:
                row |= {"size": len(file.body), "blobId": file.git_oid}
                if file.is_large:
                    row["lfs"] = {"sha256": file.sha256, "size": len(file.body), "pointerSize": len(file.pointer)}
            siblings.append(row)
        return {
            **self._row(one, {"full": ["true"]}), "sha": commit, "author": one.id.split("/")[0], "disabled": False,
            "cardData": one.card or None, "siblings": siblings, "spaces": [], "config": {},
        }  # fmt: skip

    def _leaf(self, path: str, file: StoredFile) -> dict[str, Any]:
        row: dict[str, Any] = {"type": "file", "oid": file.git_oid, "size": len(file.body), "path": path}
        if file.is_large:
            row["lfs"] = {"oid": file.sha256, "size": len(file.body), "pointerSize": len(file.pointer)}
        return row

    def _resolve(self, request: Request, id: str, revision: str, path: str) -> Reply:
        if new := self.renamed.get(id):
            return Reply.redirect(f"{self.prefix}/{new}/resolve/{quote(revision, safe='')}/{quote(path)}", 307)
        one = self.repositories.get(id)
        if one is None or (one.private and not self.may_read(request, one)):
            return _unknown(request)
        if not self.may_read(request, one):
            message = (
                f"Access to model {id} is restricted. You must have access to it and be authenticated to access it."
            )
            return _error(403 if request.token else 401, "GatedRepo", message)
        if (commit := one.resolved(revision)) is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = one.files.get(path)
        if file is None:
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        if self.files_at:
            return Reply.redirect(f"{self.files_at}/{id}/resolve/{commit}/{quote(path)}", 308)
        known = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(file.body))}
        if file.is_large:
            return Reply.redirect(self.stored_address(id, path), 302, known | {"X-Linked-Etag": f'"{file.sha256}"'})
        to = f"{self.prefix}/api/resolve-cache/models/{id}/{commit}/{quote(path)}"
        return Reply.redirect(to, 307, known | {"X-Linked-Etag": f'"{file.git_oid}"'})

    def _kept(self, request: Request, id: str, commit: str, path: str) -> Reply:
        file = self.repositories[id].files[path]
        return self.ranged(request, file.body, f'"{file.git_oid}"', {"X-Repo-Commit": commit})


def _unknown(request: Request) -> Reply:
    """Without a token the hub does not say whether there is none or it is private."""
    if request.token:
        return _error(404, "RepoNotFound", "Repository not found")
    return _error(401, "RepoNotFound", "Invalid username or password.")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Reply:
    found = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
    return Reply.json({"error": message}, status, found)
