"""The SHA-256 of a file while it grows: of all its bytes up to the first one that is missing.

Invariant: bytes are hashed in order and once. Whoever writes at the front offers what is still in his buffer; what
came out of order is read again, as a rule from the system's cache.
"""

from __future__ import annotations

import hashlib
import threading
from io import FileIO
from pathlib import Path

from core.hub.fetching.remote import RemoteFile

CHUNK_BYTES = 1024 * 1024


class Front:
    """
    Attributes:
        done: how many bytes have been hashed
    """

    def __init__(self, file: Path) -> None:
        self.done = 0
        self._file = file
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._opened: FileIO | None = None
        self._is_closed = False

    def offer(self, at: int, chunk: memoryview) -> bool:
        """False when it is not the chunk's turn."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if at != self.done:
                return False
            self._feed(chunk)
            return True
        finally:
            self._lock.release()

    def catch_up(self, until: int, buffer: memoryview) -> bool:
        """Hash one buffer full of what lies before `until`; False when there is nothing."""
        with self._lock:
            if self.done >= until or self._is_closed:
                return False
            if self._opened is None:
                self._opened = FileIO(self._file)
            self._opened.seek(self.done)
            count = self._opened.readinto(buffer[: until - self.done])
            if not count:
                raise EOFError(self._file.name)  # somebody else has cut the file
            self._feed(buffer[:count])
            return True

    def _feed(self, chunk: memoryview) -> None:
        self._digest.update(chunk)
        self.done += len(chunk)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._opened is not None:
                self._opened.close()


def git_oid(file: Path) -> str:
    """The sha1 that git gives a file. For those that hubs know by nothing else, which are small."""
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_content_of(remote: RemoteFile, file: Path, sha256: str) -> bool:
    """Whether `file`, whose SHA-256 is known, holds what `remote` shall be. True of anything where nothing is known."""
    if remote.sha256:
        return sha256 == remote.sha256
    return not remote.git_oid or git_oid(file) == remote.git_oid
