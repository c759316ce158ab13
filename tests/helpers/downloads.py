"""Parts of the tests of downloads: patient for milliseconds only, and a process of its own that can be killed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core.hub.fetching.download import Network, RemoteFile, fetch_all
from core.models.manifest import FileRecord
from core.models.steps import Step, Work, result
from tests.helpers.file_server import FileServer

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = Network(connect_s=2, stall_s=0.3, attempts=3, attempts_later=3, backoff_s=0.01, backoff_most_s=0.05)
PIECES = replace(QUICK, piece_bytes=64 * 1024)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def remotes(server: FileServer, prefix: str = "", **other: object) -> list[RemoteFile]:
    """All files of `server`, known by their digests."""
    return [
        RemoteFile(
            f"{server.address}{prefix}{path}",
            path.removeprefix("/"),
            **{"sha256": digest(body), "size_bytes": len(body), **other},  # type: ignore[arg-type]
        )
        for path, body in server.files.items()
    ]


def fetched(files: list[RemoteFile], folder: Path, network: Network = PIECES) -> tuple[FileRecord, ...]:
    return result(fetch_all(files, folder, network))


def until(work: Work[tuple[FileRecord, ...]], done: int) -> Step:
    """Goes on with `work` until so many bytes have come."""
    while (step := next(work)) is None or step.done < done:
        pass
    return step


def are_there(bodies: Mapping[str, bytes], folder: Path) -> bool:
    """Exactly these files and nothing else."""
    found = {f"/{file.relative_to(folder)}": file for file in folder.rglob("*") if file.is_file()}
    return found.keys() == bodies.keys() and all(found[path].read_bytes() == body for path, body in bodies.items())


class Downloader:
    """`fetch_all` in a process of its own."""

    def __init__(self, files: list[RemoteFile], folder: Path, network: Network = PIECES) -> None:
        wanted = [(file.url, file.name, file.sha256, file.size_bytes) for file in files]
        told = json.dumps({"files": wanted, "folder": str(folder), "piece_bytes": network.piece_bytes})
        command = [sys.executable, "-m", "tests.helpers.downloads", told]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)

    def until(self, done: int) -> int:
        """How much it has told, when that is at least `done`; what it told last when it has come to its end."""
        told = 0
        assert self.process.stdout
        while told < done and (line := self.process.stdout.readline()):
            told = int(line)
        return told

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait()


def main() -> None:
    told = json.loads(sys.argv[1])
    files = [RemoteFile(url, name, sha256, size) for url, name, sha256, size in told["files"]]
    for step in fetch_all(files, Path(told["folder"]), replace(QUICK, piece_bytes=told["piece_bytes"], attempts=50)):
        if step is not None:
            print(step.done, flush=True)


if __name__ == "__main__":
    main()
