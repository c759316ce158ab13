"""The rows of a file of training data: where each lies, and its value, which is read when it is asked for.

Owns the index of JSON files and what all kinds of rows have in common. Invariant: the index takes 20 bytes a row; the
file itself stays on disk, mapped into memory.
"""

from __future__ import annotations

import mmap
import re
from array import array
from bisect import bisect_left
from typing import Any, Literal, Protocol

import msgspec

from core.data import json_items
from core.data.encoding import DAMAGED, PlainText
from core.data.steps import EVERY_BYTES, EVERY_ROWS, Step, Work

Kind = Literal["json", "jsonl", "csv", "parquet"]

_blank = re.compile(rb"\s*")
_rest_of_line = re.compile(rb"[^\n]*")


class Broken(Exception):
    """A row that is no value: code, params of a Fault."""

    def __init__(self, code: str, **params: str | int) -> None:
        super().__init__(code)
        self.code, self.params = code, params


class Rows(Protocol):
    """
    Attributes:
        kind: what the file is, which is what a mended one will be
        columns: of a table, () of JSON
        encoding, sha256, size: of the file
    """

    kind: Kind
    columns: tuple[str, ...]
    encoding: str
    sha256: str
    size: int

    def __len__(self) -> int: ...

    def line(self, row: int) -> int:
        """Of a row by its place from 0; 0 where the file has no lines."""
        ...

    def odd(self, row: int) -> str | None:
        """Of a row with a line in another encoding than the file's: that one, "" for none we know, DAMAGED for
        characters that are cut or damaged."""
        ...

    def value(self, row: int) -> Any:
        """Raises Broken."""
        ...

    def raw(self, row: int) -> bytes:
        """The row as UTF-8, as it stands in the file."""
        ...

    def close(self) -> None: ...


class TextRows:
    """The index of a text: rows are added in order, then read in any."""

    columns: tuple[str, ...] = ()

    def __init__(self, kind: Kind, text: PlainText) -> None:
        self.kind: Kind = kind
        self.encoding, self.sha256, self.size = text.encoding, text.sha256, text.size
        self.data = text.data
        self._text = text
        self._starts, self._lengths, self._lines = array("Q"), array("Q"), array("I")
        self._faults: dict[int, str] = {}
        self._odd_lines = sorted(text.odd)

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, length: int, line: int, fault: str = "") -> None:
        if fault:
            self._faults[len(self._starts)] = fault
        self._starts.append(start)
        self._lengths.append(length)
        self._lines.append(line)

    def line(self, row: int) -> int:
        return self._lines[row]

    def odd(self, row: int) -> str | None:
        start = self._starts[row]
        place = bisect_left(self._text.spots, start)
        if place < len(self._text.spots) and self._text.spots[place] < start + max(1, self._lengths[row]):
            return DAMAGED
        if not self._odd_lines:
            return None
        first = self._lines[row]
        end = self._lines[row + 1] if row + 1 < len(self) else 1 << 62
        place = bisect_left(self._odd_lines, first)
        lines = [line for line in self._odd_lines[place : place + 1] if line < max(end, first + 1)]
        return self._text.odd[lines[0]] if lines else None

    def raw(self, row: int) -> bytes:
        start = self._starts[row]
        return self.data[start : start + self._lengths[row]]

    def value(self, row: int) -> Any:
        if fault := self._faults.get(row):
            raise Broken("broken_json", reason=fault)
        try:
            return msgspec.json.decode(self.raw(row))
        except msgspec.DecodeError as error:
            raise Broken("broken_json", reason=str(error)) from error
        except RecursionError as error:
            raise Broken("broken_json", reason="nested too deeply") from error

    def close(self) -> None:
        self._text.close()


def json_rows(text: PlainText) -> Work[TextRows]:
    """An array, one value a line, or objects written over several lines each."""
    start = _end(_blank, text.data, 0)
    if text.data[start : start + 1] == b"[":
        return (yield from _items(text, is_array=True))
    first = text.data[start : _end(_rest_of_line, text.data, start)]
    if not _is_json(first) and _begins_with_an_object(text.data[start : start + EVERY_BYTES]):
        return (yield from _items(text, is_array=False))
    return (yield from _lines(text))


def _items(text: PlainText, *, is_array: bool) -> Work[TextRows]:
    rows = TextRows("json", text)
    for span in json_items.items(text.data, is_array=is_array):
        rows.add(*span)
        if len(rows) % EVERY_ROWS == 0:
            yield Step("reading_data", span.start, len(text.data), "bytes")
    return rows


def _lines(text: PlainText) -> Work[TextRows]:
    rows, data, start, number, told = TextRows("jsonl", text), text.data, 0, 0, 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        number += 1
        if _end(_blank, data, start) < end:
            rows.add(start, end - start, number)
        start = end + 1
        if start - told > EVERY_BYTES:
            told = start
            yield Step("reading_data", start, len(data), "bytes")
    return rows


def _end(pattern: re.Pattern[bytes], data: mmap.mmap | bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _begins_with_an_object(head: bytes) -> bool:
    """Over several lines: whether the first one is whole can be told where it fits into the head."""
    span = next(json_items.items(head[: head.rfind(b"}") + 1], is_array=False), None)
    return span is not None and not span.fault and b"\n" in head[: span.length]
