"""The files of the web page by the path that a browser asks for, with the headers that keep the page to itself.

Invariant: only what was found here at the start is ever answered with, so no path leads out of it; and no page that is
sent may run, load or reach anything that does not come from this server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from core.paths import resources

PAGES = {"/": "index.html", "/docs": "docs.html"}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
ASK_AGAIN = "no-cache"  # kept, but asked about each time, so that a newer program is seen at once
FOR_GOOD = "public, max-age=31536000, immutable"  # the version stands in the path


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    media_type: str
    etag: str
    keeping: str


class WebFiles:
    """
    Attributes:
        paths: all that there are
    """

    def __init__(self) -> None:
        self._files = dict(_found())
        self.paths = frozenset(self._files)

    async def answer(self, request: Request) -> Response:
        """For GET and HEAD of one of `paths`."""
        file = self._files[request.url.path]
        headers = HEADERS | {"etag": file.etag, "cache-control": file.keeping}
        known = (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))
        if file.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(file.data, headers=headers | {"content-type": file.media_type})


def _found() -> Iterator[tuple[str, _File]]:
    folder = resources() / "web"
    for path, name in PAGES.items():
        yield path, _read(folder / name, ASK_AGAIN)
    for file in folder.rglob("*"):
        path = "/" + file.relative_to(folder).as_posix()
        if file.suffix in MEDIA_TYPES and file.suffix != ".html":
            yield path, _read(file, FOR_GOOD if path.startswith("/vendor/") else ASK_AGAIN)
    for file in (resources() / "fonts").iterdir():
        if file.suffix in MEDIA_TYPES:
            yield f"/fonts/{file.name}", _read(file, ASK_AGAIN)
    yield "/icon.svg", _read(resources() / "icons" / "qwen-workbench.svg", ASK_AGAIN)


def _read(file: Path, keeping: str) -> _File:
    data = file.read_bytes()
    return _File(data, MEDIA_TYPES[file.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"', keeping)
