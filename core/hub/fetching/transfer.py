"""One file on its way: which piece is wanted next, and what an answer to it means.

Invariant: bytes are put into the part file only from an answer that fits its version, at the place the answer itself
names; when all are there and the digest is wrong, none of them is kept.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.hub.fetching.address import Address
from core.hub.fetching.front import is_content_of
from core.hub.fetching.line import UNENDING, Answer, Line
from core.hub.fetching.part import Part, Version
from core.hub.fetching.patience import Again
from core.hub.fetching.remote import RemoteFile
from core.models.manifest import FileRecord
from core.models.space import disk_errors

BUSY = (408, 425, 429)
MISPLACED_MOST = 2  # so often a server may answer with another range before it is asked for the whole file


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """One thread's right to fetch one piece."""

    transfer: Transfer
    part: Part
    piece: int


@dataclass(frozen=True, slots=True)
class _Body:
    """Where the body of an answer belongs. most: how much of it is wanted"""

    part: Part
    at: int
    most: int


class Transfer:
    """
    Attributes:
        part: replaced by a blank one when its bytes turn out to be of no use
        record: what has become of it, once it is in its place
    """

    def __init__(self, remote: RemoteFile, folder: Path, piece_bytes: int = 0) -> None:
        self.remote = remote
        self.record: FileRecord | None = None
        self._place = folder / remote.name
        self._piece_bytes = piece_bytes
        self._address = Address(remote)
        self._lock = threading.Lock()
        self._claims: set[Claim] = set()
        self._stream: Claim | None = None
        self._misplaced = self._wrong_digests = 0
        with disk_errors(folder, remote.size_bytes):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self.part = self._blank()
            self.part.resume()

    def _blank(self) -> Part:
        return Part(self._place, self.remote, self._piece_bytes)

    @property
    def left_bytes(self) -> int:
        return max(0, (self.part.size_bytes or 0) - self.part.received)

    # --- who fetches what -----------------------------------------------------------

    @property
    def connections(self) -> int:
        return len(self._claims)

    def claim(self) -> Claim | None:
        """The missing piece nearest the front that nobody fetches. The first answer of all is waited for alone: it
        says where the file lies, which version it is and whether it comes in pieces."""
        with self._lock:
            if self.part.is_complete or self._stream or (self._claims and not self._address.is_found):
                return None
            piece = self.part.first_missing({claim.piece for claim in self._claims if claim.part is self.part})
            if piece is None:
                return None
            self._claims.add(claim := Claim(self, self.part, piece))
            return claim

    def release(self, claim: Claim) -> None:
        with self._lock:
            self._claims.discard(claim)
            if self._stream is claim:
                self._stream = None

    def _replace(self, part: Part) -> None:
        """With a blank one. Called with the lock held."""
        if self.part is part:
            part.discard()
            self.part = self._blank()

    # --- fetching -------------------------------------------------------------------

    def fetch(self, claim: Claim, line: Line, buffer: memoryview, gained: Callable[[int], None]) -> None:
        """Until the piece is whole, or the answer ends.

        gained: told of bytes that have come into the file
        Raises:
            Again, Trouble, Halted
            UserError: download_*, disk_full, folder_read_only
        """
        if claim.part.is_complete:
            return
        start, end = claim.part.missing(claim.piece)
        answer, host = self._address.open(line, self._range(claim.part, start, end))
        with closing(answer):
            with disk_errors(self._place.parent, self.left_bytes):
                body = self._body(answer, host, claim, start, end)
                if body is not None:
                    self._store(answer, body, buffer, gained)

    def _range(self, part: Part, start: int, end: int) -> dict[str, str]:
        is_whole = start == 0 and end == part.size_bytes
        is_unknown = part.size_bytes is None or not (
            self.remote.has_digest or part.version is None or any(part.version)
        )
        if is_whole or is_unknown or self._misplaced >= MISPLACED_MOST:
            return {}
        validator = part.version.validator if part.version and not self.remote.has_digest else ""
        return {"Range": f"bytes={start}-{end - 1}", **({"If-Range": validator} if validator else {})}

    def _body(self, answer: Answer, host: str, claim: Claim, start: int, end: int) -> _Body | None:
        """None: another thread is fetching the same bytes."""
        match answer.status:
            case 200 if not answer.header("Content-Range"):
                return self._whole(answer, claim)
            case 200 | 206:  # ModelScope says 200 of a part, too
                return self._piece(answer, claim.part, start, end)
            case 416:
                raise self._misplaced_again()
            case status if status in BUSY or status >= 500:
                raise Again
            case 401 | 403 | 407:
                error = UserError("download_forbidden", host=host, status=answer.status)
            case 404 | 410:
                error = UserError("download_gone", host=host, file=self.remote.name)
            case status:
                error = UserError("download_refused", host=host, status=str(status))
        if host != self.remote.host:
            raise Again(error)  # a signed address may have come to its end on the way here
        raise error

    def _whole(self, answer: Answer, claim: Claim) -> _Body | None:
        """A server without ranges, or a file in one piece. What is there already is passed over as it comes."""
        self._need_length(answer)
        version = _version(answer)
        with self._lock:
            if self._stream is not None or self.part is not claim.part:
                return None
            if not self._is_same(version):
                self._replace(self.part)
            if self.part.version is None:
                self.part.begin(version, answer.length)
            self._stream = claim
            return _Body(self.part, 0, UNENDING if self.part.size_bytes is None else self.part.size_bytes)

    def _is_same(self, version: Version) -> bool:
        part = self.part
        if part.is_blank or (self.remote.has_digest and part.size_bytes is not None):
            return True
        return part.size_bytes is not None and any(version) and version == part.version

    def _piece(self, answer: Answer, part: Part, start: int, end: int) -> _Body | None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.header("Content-Range").strip())
        if found is None or int(found[1]) != start or found[3] not in ("*", str(part.size_bytes)):
            raise self._misplaced_again()
        version = _version(answer)
        with self._lock:
            if self.part is not part:
                return None
            if part.version is None:
                part.begin(version, part.size_bytes)
            elif not self.remote.has_digest and not version.may_be(part.version):
                self._replace(part)
                raise Again
            self._misplaced = 0
        return _Body(part, start, min(end, int(found[2]) + 1) - start)

    def _misplaced_again(self) -> Again:
        """Another range than the one asked for. Without a digest nothing tells whether it is another version."""
        with self._lock:
            self._misplaced += 1
            if not self.remote.has_digest:
                self._replace(self.part)
        return Again()

    def _need_length(self, answer: Answer) -> None:
        """A page that asks for a login is found here, not after the last byte."""
        if answer.header("Content-Encoding") not in ("", "identity"):
            raise UserError("download_refused", host=self.remote.host, status=answer.header("Content-Encoding"))
        expected = self.part.size_bytes
        if None not in (answer.length, expected) and answer.length != expected:
            raise UserError(
                "download_wrong_length", file=self.remote.name, expected=expected or 0, found=str(answer.length)
            )

    def _store(self, answer: Answer, body: _Body, buffer: memoryview, gained: Callable[[int], None]) -> None:
        part, at = body.part, body.at
        with part.writer() as out:
            for count in answer.fill(buffer, body.most):
                if self.part is not part:
                    return
                new = part.write(out, at, buffer[:count])
                at += count
                gained(new)
        if body.most == UNENDING:
            part.ended()
        elif at < body.at + body.most:
            raise Again  # the answer was shorter than it said

    # --- the end ---------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """All bytes are there and hashed, and nobody writes any more."""
        part = self.part
        return part.is_complete and part.front.done == part.size_bytes and not self._claims

    def settle(self, commit: Callable[[Callable[[], None]], None]) -> None:
        """Give the file its name, or begin anew when it is another one.

        commit: runs the last step unless the download has been closed meanwhile
        Raises:
            UserError: download_wrong_hash, the second time.
        """
        part, remote = self.part, self.remote
        digest = part.front.sha256
        if is_content_of(remote, part.file, digest):
            with disk_errors(self._place.parent, 0):
                part.make_durable()
            commit(lambda: self._arrived(part, digest))
            return
        self._wrong_digests += not part.is_whole
        if self._wrong_digests > 1:
            part.discard()
            raise UserError("download_wrong_hash", file=remote.name)
        with self._lock:
            self._replace(part)

    def _arrived(self, part: Part, digest: str) -> None:
        part.put_in_place()
        self.record = FileRecord(self.remote.name, part.size_bytes or 0, digest)


def _version(answer: Answer) -> Version:
    return Version(answer.header("ETag"), answer.header("Last-Modified"))
