"""Fetches files, several pieces at a time, and goes on exactly where it stopped: after a cut, a cancel, a kill or a
loss of power. The one downloader of the program.

Invariant: a file stands under its own name only when all of it has come and its digest is the right one. Closing the
generator ends every thread and connection, and keeps what has come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import UserError
from core.hub.fetching.crew import Crew
from core.hub.fetching.front import is_content_of
from core.hub.fetching.remote import Network, RemoteFile
from core.hub.fetching.transfer import Transfer
from core.models.checksums import sha256
from core.models.manifest import FileRecord
from core.models.space import disk_errors, need_space
from core.models.steps import POLL_S, FileStep, Step, Work

__all__ = ["Network", "RemoteFile", "check_local", "fetch", "fetch_all"]

STEP_S = 0.1


def fetch(remote: RemoteFile, folder: Path, network: Network) -> Work[Path]:
    """Have the whole file in `folder`; the result is its path. Closing the generator keeps what has come so far.

    Raises:
        UserError: download_*, disk_full, folder_read_only, proxy_unusable, certificates_unreadable.
    """
    with _alone(folder / f"{remote.name}.lock", remote.name):
        yield from _fetched([remote], folder, network)
    return folder / remote.name


def fetch_all(files: Sequence[RemoteFile], folder: Path, network: Network) -> Work[tuple[FileRecord, ...]]:
    """Have all of `files` in `folder`; the result tells the size and SHA-256 of each, taken while it came.

    Raises:
        UserError: as `fetch`
    """
    with _alone(folder.with_name(f"{folder.name}.lock"), folder.name):
        return (yield from _fetched(files, folder, network))


def check_local(file: Path, remote: RemoteFile) -> Work[Path]:
    """The same check for a file that is on this machine already; it is left where it lies."""
    if not file.is_file():
        raise UserError("download_gone", file=remote.name, host=file.parent.as_posix())
    found = yield from sha256(file)
    if not is_content_of(remote, file, found):
        raise UserError("download_wrong_hash", file=remote.name)
    return file


@contextmanager
def _alone(lock_file: Path, name: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    with disk_errors(lock_file.parent, 0):
        lock_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_file, timeout=0):
            yield
    except Timeout:
        raise UserError("download_busy", file=name) from None


def _fetched(files: Sequence[RemoteFile], folder: Path, network: Network) -> Work[tuple[FileRecord, ...]]:
    transfers = [Transfer(remote, folder, network.piece_bytes) for remote in files]
    need_space(folder, sum(transfer.left_bytes for transfer in transfers))
    told = _Told(transfers)
    with closing(Crew(transfers, folder, network)) as crew:
        crew.start()
        while not crew.wait(POLL_S):
            yield told.news()
    yield told.last()
    return tuple(transfer.record for transfer in transfers if transfer.record)


class _Told:
    """What has been told of each file, so that only news are."""

    def __init__(self, transfers: Sequence[Transfer]) -> None:
        self._transfers = transfers
        self._files: dict[str, FileStep] = {}
        self._done = -1
        self._due = 0.0

    def news(self) -> Step | None:
        if (now := time.monotonic()) < self._due:
            return None
        step = self.last()
        if not step.files and self._done == step.done:
            return None
        self._due, self._done = now + STEP_S, step.done
        return step

    def last(self) -> Step:
        """How far it is, with the files that have changed."""
        parts = [(transfer.remote.name, transfer.part) for transfer in self._transfers]
        files = [FileStep(name, part.received, part.size_bytes or 0) for name, part in parts]
        changed = tuple(file for file in files if self._files.get(file.name) != file)
        self._files |= {file.name: file for file in changed}
        total = None if any(part.size_bytes is None for _, part in parts) else sum(file.total for file in files)
        if total is not None and all(part.is_complete for _, part in parts):
            hashed = sum(part.front.done for _, part in parts)
            return Step("checking", hashed, total, self._at_hand(), changed)
        return Step("downloading", sum(file.done for file in files), total, self._at_hand(), changed)

    def _at_hand(self) -> str:
        waiting = [transfer for transfer in self._transfers if transfer.record is None]
        busy = [transfer for transfer in waiting if transfer.connections]
        return next((transfer.remote.name for transfer in [*busy, *waiting]), "")
