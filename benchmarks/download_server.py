"""Serves a folder as one repository on Hugging Face's interface, for the download benchmarks; a process of its own.

    python -m benchmarks.download_server FOLDER

prints its port. Files go out by sendfile, so that the server takes as little of the machine as it can.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY = "bench/model"
COMMIT = "1" * 40


@cache
def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def leaf(file: Path) -> dict[str, object]:
    size = file.stat().st_size
    lfs = {"oid": sha256(file), "size": size, "pointerSize": 134}
    return {"type": "file", "oid": "0" * 40, "size": size, "path": file.name, "lfs": lfs}


def handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                self._json([leaf(file) for file in sorted(folder.iterdir())])
            elif self.path.startswith("/api/models/"):
                names = sorted(file.name for file in folder.iterdir())
                self._json({"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
            else:
                self._file(is_head=False)

        def do_HEAD(self) -> None:
            self._file(is_head=True)

        def _json(self, facts: object) -> None:
            body = json.dumps(facts).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _file(self, *, is_head: bool) -> None:
            file = folder / self.path.rpartition("/")[2]
            if not file.is_file():
                self.send_error(404)
                return
            size = file.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            end = int(asked[2]) + 1 if asked and asked[2] else size
            self.send_response(206 if asked else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{sha256(file)}"')
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            if not is_head:
                self._send(file, start, end)

        def _send(self, file: Path, start: int, end: int) -> None:
            with file.open("rb") as stream:
                while start < end:
                    start += os.sendfile(self.connection.fileno(), stream.fileno(), start, min(end - start, 1 << 20))

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server process for `folder`."""
    command = [sys.executable, "-m", "benchmarks.download_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def main() -> None:
    folder = Path(sys.argv[1])
    for file in folder.iterdir():
        sha256(file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(folder))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
