"""A text file of any usual encoding as UTF-8, with the lines that are in another one than the rest.

Owns the way of a file to UTF-8. Invariant: nothing is replaced silently; a line that does not decode by the file's
own encoding is named in `odd`, a spot that is no character in `spots`, and every byte that comes out of here is valid
UTF-8.
"""

from __future__ import annotations

import codecs
import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from core.data import guess
from core.data.guess import Other
from core.data.steps import EVERY_BYTES, Step, Work
from core.errors import UserError

BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
HEAD = 4096
LINE_MOST = 64 << 20  # one line longer than this is no row of anything
DAMAGED = "damaged"  # in place of an encoding: UTF-8 with spots that are none
REPLACED = "\ufffd"


@dataclass
class PlainText:
    """The file as UTF-8 without its mark, mapped into memory.

    odd: lines (1-based) that are not in the file's encoding, with the one they are in; "" for those in none. Here they
    stand decoded by that, or with escapes for their bytes.
    spots: where in `data` a sign stands for bytes that are no character, rising
    """

    encoding: str
    sha256: str
    size: int
    data: mmap.mmap | bytes
    odd: dict[int, str] = field(default_factory=dict)
    spots: Sequence[int] = ()

    def close(self) -> None:
        if isinstance(self.data, mmap.mmap):
            self.data.close()


def open_text(path: Path) -> Work[PlainText]:
    """
    Raises:
        UserError: data_unreadable, data_binary.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            encoding, sha256 = yield from _survey(file, size)
            file.seek(0)
            if encoding == "utf-8":  # as it lies on the disk
                return PlainText(encoding, sha256, size, _map(file) if size else b"")
            return (yield from _transcoded(path, file, encoding, sha256, size))
    except OSError as error:
        raise UserError("data_unreadable", file=str(path), reason=error.strerror or str(error)) from error


def _survey(file: IO[bytes], size: int) -> Work[tuple[str, str]]:
    """The encoding, and the SHA-256 of the bytes. "mixed" is UTF-8 with lines that are not."""
    head = file.read(HEAD)
    file.seek(0)
    encoding = _by_head(head)
    decoder = codecs.getincrementaldecoder("utf-8")()
    digest, is_utf8, done = hashlib.sha256(), True, 0
    while piece := file.read(EVERY_BYTES):
        digest.update(piece)
        done += len(piece)
        if is_utf8 and encoding == "utf-8":
            is_utf8 = _decodes(decoder, piece, done >= size)
        yield Step("reading_data", done, size, "bytes")
    if encoding != "utf-8" or is_utf8:  # a mark is no guess
        return encoding, digest.hexdigest()
    file.seek(0)
    return (yield from _guess_by_lines(file, size)), digest.hexdigest()


def _by_head(head: bytes) -> str:
    for mark, encoding in BOMS:
        if head.startswith(mark):
            return encoding
    if b"\0" not in head:
        return "utf-8"
    even, odd = head[::2].count(0), head[1::2].count(0)
    least = 4 if _decodes(codecs.getincrementaldecoder("utf-8")(), head, False) else 50
    if max(even, odd) * least < len(head) or min(even, odd) * 10 > max(even, odd):
        return "utf-8"  # a stray zero, or no text at all
    return "utf-16-le" if odd >= even else "utf-16-be"


def _decodes(decoder: codecs.IncrementalDecoder, piece: bytes, is_last: bool) -> bool:
    try:
        decoder.decode(piece, is_last)
    except UnicodeDecodeError:
        return False
    return True


def _guess_by_lines(file: IO[bytes], size: int) -> Work[str]:
    """What most of the lines with more than ASCII are in."""
    sure = short = done = 0
    other = Other()
    for number, line in enumerate(lines_of(file, 1)):
        done += len(line)
        if guess.is_high(line):
            if guess.is_surely_utf8(line):
                sure += 1
            elif guess.decoded(line, "utf-8") is not None or guess.is_damaged_utf8(line):
                short += 1  # short words of GBK may be valid UTF-8 by chance
            else:
                other.add(line)
        if number % 64 == 0:
            yield Step("reading_data", done, size, "bytes")
    against = other.lines + (short if other.is_chinese else 0)
    return "mixed" if sure + (0 if other.is_chinese else short) >= against else other.encoding


def _map(file: IO[bytes]) -> mmap.mmap:
    """It keeps the file by itself, for as long as somebody reads it."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _transcoded(path: Path, file: IO[bytes], encoding: str, sha256: str, size: int) -> Work[PlainText]:
    """A copy in UTF-8 that is gone with its last user."""
    main = "utf-8" if encoding in ("mixed", "utf-8-sig") else encoding
    odd: dict[int, str] = {}
    spots = array("Q")
    with tempfile.TemporaryFile() as copy:
        done = number = 0
        for number, line in enumerate(lines_of(file, 2 if main.startswith("utf-16") else 1, main), 1):
            text, found = _decoded(_without_mark(line) if number == 1 else line, main)
            if found == DAMAGED:
                spots.extend(_places(text, copy.tell()))
            elif found != main:
                odd[number] = found
            copy.write(text.encode())
            done += len(line)
            if number % 64 == 0:
                yield Step("reading_data", min(done, size), size, "bytes")
        if sum(not found for found in odd.values()) * 2 > number:
            raise UserError("data_binary", file=str(path))
        copy.flush()
        told = main if encoding == "mixed" else encoding
        return PlainText(told, sha256, size, _map(copy) if copy.tell() else b"", odd, spots)


def _places(text: str, start: int) -> Iterator[int]:
    """Of the signs that stand for no character, in a text that begins at this byte."""
    *before, _ = text.split(REPLACED)
    for piece in before:
        start += len(piece.encode())
        yield start
        start += len(REPLACED.encode())


def _without_mark(line: bytes) -> bytes:
    return next((line.removeprefix(mark) for mark, _ in BOMS if line.startswith(mark)), line)


def _decoded(line: bytes, main: str) -> tuple[str, str]:
    """The text of a line, and what it is in: "" for nothing we know, DAMAGED for UTF-8 with spots that are none, which
    stand as REPLACED."""
    if main.startswith("utf-16"):
        text = guess.decoded(line, main)
        return (text, main) if text is not None else (_escaped(line.replace(b"\0", b"")), "")
    for encoding in _likely(line, main):
        if (text := guess.decoded(line, encoding)) is not None:
            return text, encoding
    if guess.is_damaged_utf8(line):
        return line.decode("utf-8", "replace"), DAMAGED
    return _escaped(line), ""


def _likely(line: bytes, main: str) -> Iterator[str]:
    """The encodings to try for a line, the likeliest first."""
    if main == "utf-8" or (guess.is_high(line) if main == "cp1252" else guess.is_surely_utf8(line)):
        yield "utf-8"
    if guess.is_damaged_utf8(line):
        return
    if main != "utf-8":
        yield main
    if main != "cp1252" and guess.is_chinese(line):
        yield "gb18030"
    if main == "utf-8" and guess.is_latin(line):
        yield "cp1252"


def _escaped(line: bytes) -> str:
    return line.decode("ascii", "backslashreplace")


def lines_of(file: IO[bytes], width: int, encoding: str = "utf-8") -> Iterator[bytes]:
    """The lines with their ends, whatever an end is in an encoding of `width` bytes a unit."""
    if width == 1:
        yield from iter(lambda: file.readline(LINE_MOST), b"")
        return
    newline, rest = "\n".encode(encoding), b""
    while piece := file.read(EVERY_BYTES):
        at = max(len(rest) - 1, 0)  # what came before holds no end of a line
        rest, start = rest + piece, 0
        while (at := rest.find(newline, at)) >= 0:
            if at % 2:
                at += 1
                continue
            yield rest[start : at + 2]
            start = at = at + 2
        rest = rest[start:]
    if rest:
        yield rest
