"""The unfinished file: its bytes, the note of what they belong to, and the marks of how far each piece is.

Beside `<name>.part` lie `<name>.part.json` and `<name>.part.marks`. Invariant: what the marks say has come are bytes of
the one version of the file that the note names; `<name>` itself only ever holds all of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from core.hub.fetching.front import Front
from core.hub.fetching.marks import Marks, boot
from core.hub.fetching.remote import RemoteFile
from core.models.shelf import to_disk

MB = 1024 * 1024
PIECES, SMALLEST_PIECE, LARGEST_PIECE, MOST_PIECES = 32, 4 * MB, 32 * MB, 4096
ENDLESS = 2**62  # the length of the one piece of a file whose size is not known


class Version(NamedTuple):
    """What a server says of the content, for files that are not known by their digest."""

    etag: str = ""
    last_modified: str = ""

    @property
    def validator(self) -> str:
        """For If-Range; weak tags are not allowed there."""
        return self.etag if self.etag.startswith('"') else self.last_modified

    def may_be(self, other: Version) -> bool:
        return all(not one or not two or one == two for one, two in zip(self, other, strict=True))


class Note(Struct, frozen=True):
    """What the part file belongs to. boot: when the first table of the marks was last true."""

    size_bytes: int
    piece_bytes: int
    boot: str
    sha256: str = ""
    git_oid: str = ""
    etag: str = ""
    last_modified: str = ""


class Part:
    """Written by several threads; each has its own `writer`.

    Attributes:
        size_bytes: None while not known
        version: None while no answer has come, and for a file that is whole already
        received: bytes that are in the file
    """

    def __init__(self, place: Path, remote: RemoteFile, piece_bytes: int) -> None:
        self.place = place
        self.file = self._beside("")
        self.is_whole = False
        self.version: Version | None = None
        self._remote = remote
        self._lock = threading.Lock()
        self._is_closed = self._note_is_on_disk = False
        self._shape(remote.size_bytes or None, piece_bytes)
        self._come = [0] * self.count
        self.received = self._synced = self._front_piece = 0
        self.front = Front(self.file)

    def _shape(self, size_bytes: int | None, piece_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.piece_bytes = (piece_bytes or _piece_bytes(size_bytes)) if size_bytes is not None else ENDLESS
        self.count = max(1, -(-(size_bytes or 0) // self.piece_bytes))
        self._marks = Marks(self._beside(".marks"), self.count)

    def _beside(self, suffix: str) -> Path:
        return self.place.with_name(f"{self.place.name}.part{suffix}")

    # --- how far it is -----------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        return self.received == self.size_bytes

    @property
    def is_blank(self) -> bool:
        return not self.received

    @property
    def at_front(self) -> int:
        """How many bytes have come without a gap."""
        with self._lock:
            while self._front_piece < self.count - 1 and self._is_full(self._front_piece):
                self._front_piece += 1
            return self._front_piece * self.piece_bytes + self._come[self._front_piece]

    def _is_full(self, piece: int) -> bool:
        return self._come[piece] == self._length(piece)

    def _length(self, piece: int) -> int:
        return ENDLESS if self.size_bytes is None else min(self.piece_bytes, self.size_bytes - piece * self.piece_bytes)

    def missing(self, piece: int) -> tuple[int, int]:
        """The first byte that is missing of a piece, and the end of the piece; the same when none is."""
        start = piece * self.piece_bytes
        return start + self._come[piece], start + self._length(piece)

    def first_missing(self, claimed: Collection[int]) -> int | None:
        """The piece nearest the front that is neither whole nor among `claimed`."""
        with self._lock:
            pieces = range(self._front_piece, self.count)
            return next((piece for piece in pieces if piece not in claimed and not self._is_full(piece)), None)

    # --- growing ------------------------------------------------------------------

    def begin(self, version: Version, size_bytes: int | None) -> None:
        """The first answer has come. What older files said goes first and the note comes last, so they never mix."""
        if self.size_bytes is None:
            self.size_bytes = size_bytes
        self._clear()
        self.file.touch()
        self._marks.create()
        self.version = version
        self._write_note()

    def _write_note(self) -> None:
        version = self.version or Version()
        note = Note(self.size_bytes or 0, self.piece_bytes, boot(), self._remote.sha256, self._remote.git_oid, *version)
        draft = self._beside(".json.new")
        draft.write_bytes(msgspec.json.encode(note))
        draft.replace(self._beside(".json"))

    def writer(self) -> FileIO:
        return FileIO(self.file, "r+")

    def write(self, out: FileIO, at: int, chunk: memoryview) -> int:
        """Put `chunk` at byte `at`; the number of bytes that are new. Those that are there already are passed over."""
        new = 0
        while chunk:
            piece = min(at // self.piece_bytes, self.count - 1)
            start, end = self.missing(piece)
            beyond = min(end, at + len(chunk))
            if beyond > start:
                new += self._write_within(out, piece, start, chunk[start - at : beyond - at])
            chunk, at = chunk[beyond - at :], beyond
        return new

    def _write_within(self, out: FileIO, piece: int, at: int, chunk: memoryview) -> int:
        out.seek(at)
        new = 0
        while chunk:
            count = out.write(chunk)
            new += self._mark(piece, at + count)
            self.front.offer(at, chunk[:count])
            chunk, at = chunk[count:], at + count
        return new

    def _mark(self, piece: int, until: int) -> int:
        """Another thread may have been there before, with the same bytes."""
        with self._lock:
            new = max(0, until - piece * self.piece_bytes - self._come[piece])
            self._come[piece] += new
            self.received += new
            if new and not self._is_closed:
                self._marks.come(piece, self._come[piece])
        return new

    def ended(self) -> None:
        """A body of unknown length came to its end."""
        if self.size_bytes is None:
            self.size_bytes = self.received

    # --- durability ---------------------------------------------------------------

    @property
    def is_synced(self) -> bool:
        return self.version is None or self._synced == self.received

    def sync(self) -> None:
        """What has come so far outlives a loss of power from here on."""
        with self._lock:
            come, received = list(self._come), self.received
        with self.writer() as data:
            getattr(os, "fdatasync", os.fsync)(data.fileno())
        if not self._note_is_on_disk:
            to_disk(self._beside(".json"))
            to_disk(self.file.parent)
            self._note_is_on_disk = True
        with self._lock:
            if not self._is_closed:
                self._marks.on_disk(come)
        self._synced = received

    def make_durable(self) -> None:
        if not self.is_whole:
            to_disk(self.file)

    def put_in_place(self) -> None:
        """The file gets its name. `make_durable` came before."""
        self.close()
        if not self.is_whole:
            self.file.replace(self.place)
        self._clear()

    def discard(self) -> None:
        """Nothing of it is kept. Threads that still write do so into a file without a name."""
        self.close()
        self.file.unlink(missing_ok=True)
        self._clear()

    def _clear(self) -> None:
        """The note goes first: bytes without one are never taken for anything."""
        for suffix in (".json", ".json.new", ".marks", ""):
            self._beside(suffix).unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._marks.close()
        self.front.close()

    # --- what an earlier download left ---------------------------------------------

    def resume(self) -> None:
        """Go on with what is there; stays blank where nothing can be used."""
        if self.place.exists():
            self._take_whole()
        elif (note := self._note()) is not None and self.file.exists():
            self._take_part(note)

    def _take_whole(self) -> None:
        size_bytes = self.place.stat().st_size
        if self.size_bytes not in (None, size_bytes):
            self.place.unlink()
            return
        self._shape(size_bytes, 0)
        self.file, self.is_whole = self.place, True
        self.front = Front(self.file)
        self._fill([self._length(piece) for piece in range(self.count)])

    def _note(self) -> Note | None:
        """None where the bytes are of something else, or of nobody knows what."""
        try:
            note = msgspec.json.decode(self._beside(".json").read_bytes(), type=Note)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        remote = self._remote
        is_same = (note.sha256, note.git_oid) == (remote.sha256, remote.git_oid)
        is_known = remote.has_digest or note.etag or note.last_modified
        fits = note.size_bytes == remote.size_bytes or not remote.size_bytes
        return note if is_same and is_known and fits and note.size_bytes and note.piece_bytes > 0 else None

    def _take_part(self, note: Note) -> None:
        self._shape(note.size_bytes, note.piece_bytes)
        rebooted = note.boot != boot()
        if (come := self._marks.read(after_reboot=rebooted)) is None:
            self._shape(self._remote.size_bytes or None, 0)
            return
        there = self.file.stat().st_size
        come = [min(count, self._length(i), max(0, there - i * self.piece_bytes)) for i, count in enumerate(come)]
        self._fill(come)
        self.version = Version(note.etag, note.last_modified)
        if rebooted:
            self._marks.replace(come)
            self._write_note()

    def _fill(self, come: list[int]) -> None:
        self._come = come
        self.received = sum(come)


def _piece_bytes(size_bytes: int) -> int:
    """Large enough that asking costs nothing, small enough that several connections end at about the same time."""
    even = -(-size_bytes // PIECES // MB) * MB
    return max(SMALLEST_PIECE, min(LARGEST_PIECE, even), size_bytes // MOST_PIECES)
