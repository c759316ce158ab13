"""A loopback server that speaks ModelScope's interfaces: /openapi/v1 about repositories, /api/v1 about their files.

Most failures are said in the body, byte ranges of small files are answered with 200, large files are stored elsewhere.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from tests.helpers.hub_server import UPDATED, HubServer, Published, Reply, Request

MOST_LISTED = 3000
_OPEN = re.compile(r"/openapi/v1/models/(?P<id>[^/]+/[^/]+)")
_API = re.compile(r"/api/v1/models/(?P<id>[^/]+/[^/]+)(?P<verb>/revisions|/commits|/repo/files|/repo|)")
_SECONDS = int(datetime.fromisoformat(UPDATED).timestamp())


class ModelScopeServer(HubServer):
    """
    Attributes:
        missing_status: of the answer to a file that is not there; the hub was seen to say 200 and 404
        has_commits: whether the interface that tells the commit of a branch is there
    """

    branch = "master"

    def __init__(self, prefix: str = "") -> None:
        super().__init__(prefix)
        self.missing_status = 200
        self.has_commits = True

    def reply(self, request: Request, path: str) -> Reply:
        if request.token and request.token not in self.accounts and path.startswith("/openapi/"):
            return _open_error(401, "InvalidAuthentication", "Access token is invalid or expired")
        if path == "/openapi/v1/models":
            return self._listing(request)
        if found := _OPEN.fullmatch(path):
            one = self._visible(request, found["id"])
            if one is None:
                return _open_error(404, "ResourceNotFound", "Model not found")
            return Reply.json({"success": True, "request_id": "r", "data": self._row(one)})
        if found := _API.fullmatch(path):
            return self._api(request, unquote(found["id"]), found["verb"])
        if path == "/api/v1/repos/internalAccelerationInfo":
            return _envelope({"InternalRegionQueryAddress": ""})
        return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found")

    def _visible(self, request: Request, id: str) -> Published | None:
        one = self.repositories.get(id)
        return None if one is None or (one.private and not self.may_read(request, one)) else one

    def _listing(self, request: Request) -> Reply:
        asked = request.query
        number, size = int(asked.get("page_number", "1")), int(asked.get("page_size", "10"))
        if size > 50 or number * size > MOST_LISTED:
            return _open_error(400, "InputParameterError", "page_size is out of range")
        words = asked.get("search", "").lower()
        rows = [one for one in self.repositories.values() if one.id.lower().partition("/")[2].startswith(words)]
        rows = [one for one in rows if one.id.startswith(asked.get("owner", "")) and not one.private]
        if asked.get("sort") == "downloads":
            rows.sort(key=lambda one: -one.downloads)
        page = [self._row(one) for one in rows[(number - 1) * size : number * size]]
        data = {"models": page, "total_count": len(rows), "page_number": number, "page_size": size}
        return Reply.json({"success": True, "request_id": "r", "data": data})

    def _row(self, one: Published) -> dict[str, Any]:
        licence = one.card.get("license", "")
        return {
            "id": one.id, "display_name": one.id.split("/")[1], "downloads": one.downloads, "likes": one.likes,
            "license": licence, "tags": [f"license:{licence}", "library:transformers"], "tasks": [one.task],
            "params": one.parameters, "file_size": sum(len(file.body) for file in one.files.values()),
            "private": one.private, "gated": one.gated, "login_required": False,
            "created_at": UPDATED, "last_modified": UPDATED,
        }  # fmt: skip

    def _api(self, request: Request, id: str, verb: str) -> Reply:
        one = self._visible(request, id)
        if one is None:
            return _failure(404, 10010205001, "获取模型信息失败，信息：record not found")
        if verb in ("/repo", "/repo/files") and not self.may_read(request, one):
            return _failure(404, 10010200001, "无权限访问该模型")
        match verb:
            case "":
                owner, name = id.split("/")
                return _envelope({
                    "Id": 1, "Path": owner, "Name": name, "License": one.card.get("license", ""), "Visibility": 5,
                    "Downloads": one.downloads, "Stars": one.likes, "LastUpdatedTime": _SECONDS,
                })  # fmt: skip
            case "/revisions":
                rows = {name: {"Revision": name, "CreatedAt": _SECONDS} for name in one.commits}
                branches = [rows.pop(self.branch)]
                return _envelope({"RevisionMap": {"Branches": branches, "Tags": list(rows.values())}})
            case "/commits" if not self.has_commits:
                return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found")
            case "/commits":
                commit = one.resolved(request.query.get("Ref", self.branch))
                return _envelope({"Commit": [{"Id": commit, "Message": "."}] if commit else None})
            case "/repo/files":
                return self._files(request, one)
            case _:
                return self._file(request, one)

    def _files(self, request: Request, one: Published) -> Reply:
        commit = one.resolved(request.query.get("Revision", self.branch))
        if commit is None:
            return _envelope({"Files": None, "IsVisual": 0})
        top = [path for path in one.files if "/" not in path]
        is_recursive = request.query.get("Recursive", "").lower() == "true"
        rows = [
            {
                "Name": path.rpartition("/")[2], "Path": path, "Size": len(one.files[path].body), "Type": "blob",
                "Sha256": one.files[path].sha256, "IsLFS": one.files[path].is_large, "Mode": "33188",
                "Revision": commit, "CommittedDate": _SECONDS, "CommitterName": "someone", "InCheck": False,
            }
            for path in (one.files if is_recursive else top)
        ]  # fmt: skip
        folders = sorted({path.partition("/")[0] for path in one.files if "/" in path})
        rows += [
            {"Name": name, "Path": name, "Size": 0, "Type": "tree", "Sha256": "", "IsLFS": False, "Revision": commit}
            for name in folders
        ]
        return _envelope({"Files": rows[:MOST_LISTED], "IsVisual": 0, "LatestCommitter": {"Id": "", "ShortId": ""}})

    def _file(self, request: Request, one: Published) -> Reply:
        commit, path = one.resolved(request.query.get("Revision", self.branch)), request.query.get("FilePath", "")
        file = one.files.get(path) if commit else None
        if file is None:
            status = 404 if request.method == "HEAD" else self.missing_status
            return _failure(status, 10010205001, "获取文件失败，信息：file not found")
        if file.is_large and request.method == "GET":
            return Reply.redirect(self.stored_address(one.id, path))
        return self.ranged(request, file.body, f'"{file.sha256}"', partial=200)


def _envelope(data: dict[str, Any]) -> Reply:
    return Reply.json({"Code": 200, "Data": data, "Message": "success", "RequestId": "r", "Success": True})


def _failure(status: int, code: int, message: str) -> Reply:
    return Reply.json({"Code": code, "Message": message, "RequestId": "r", "Success": False}, status)


def _open_error(status: int, code: str, message: str) -> Reply:
    return Reply.json({"success": False, "code": code, "message": message, "request_id": "r"}, status)
