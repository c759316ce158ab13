"""The rows of CSV and TSV files.

Owns the dialect: the delimiter is the one the header has most of, a quoted field may hold line breaks. Invariant: a row
has exactly the columns of the header, or it is broken.
"""

from __future__ import annotations

import csv
import mmap
from collections.abc import Iterator
from typing import Any

from core.data.encoding import PlainText
from core.data.rows import Broken, TextRows
from core.data.steps import EVERY_ROWS, Step, Work

FIELD_MOST = 4 << 20
REWINDS_MOST = 50  # each may read the rest of the file again
DELIMITERS = ",\t;|"


class CsvRows(TextRows):
    """
    Attributes:
        delimiter
    """

    def __init__(self, text: PlainText, delimiter: str, columns: tuple[str, ...]) -> None:
        super().__init__("csv", text)
        self.delimiter, self.columns = delimiter, columns

    def fields(self, row: int) -> list[str]:
        """Raises Broken."""
        if fault := self._faults.get(row):
            raise Broken("broken_csv", reason=fault)
        csv.field_size_limit(FIELD_MOST)
        try:
            return next(csv.reader(_kept_lines(self.raw(row)), delimiter=self.delimiter, strict=True))
        except (csv.Error, StopIteration) as error:
            raise Broken("broken_csv", reason=str(error)) from error

    def value(self, row: int) -> Any:
        fields = self.fields(row)
        if len(fields) != len(self.columns):
            raise Broken("columns_differ", count=len(fields), expected=len(self.columns))
        return dict(zip(self.columns, fields, strict=True))


def header_of(text: PlainText, least: int) -> tuple[str, list[str]] | None:
    """The delimiter and the columns; None where the first line is no header of at least so many."""
    end = text.data.find(b"\n")
    line = text.data[: end if end >= 0 else len(text.data)].decode().rstrip("\r")
    delimiter = max(DELIMITERS, key=line.count)
    if line.count(delimiter) + 1 < least or "\0" in line:
        return None
    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None
    return delimiter, names


def csv_rows(text: PlainText, delimiter: str, names: list[str]) -> Work[CsvRows]:
    csv.field_size_limit(FIELD_MOST)
    rows = CsvRows(text, delimiter, _unique(names))
    lines = _Lines(text.data)
    reader, rewinds = csv.reader(lines, delimiter=delimiter, strict=True), 0
    while True:
        start, line, fault = lines.offset, lines.number + 1, ""
        try:
            fields = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            fields, fault = [""], str(error)
            if lines.number > line and rewinds < REWINDS_MOST:  # a quote without its end takes in what follows
                lines.rewind(start, line)
                rewinds += 1
        if fields and (line > 1 or fault):
            rows.add(start, lines.offset - start, line, fault)
        if len(rows) % EVERY_ROWS == 0:
            yield Step("reading_data", lines.offset, len(text.data), "bytes")


class _Lines:
    """The lines of a text with their ends; offset, number: of what was given so far."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data, self.offset, self.number = data, 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def rewind(self, start: int, line: int) -> None:
        """To the end of the line that begins at `start`."""
        self.offset, self.number = start, line - 1
        next(self)

    def __next__(self) -> str:
        if self.offset >= len(self._data):
            raise StopIteration
        end = self._data.find(b"\n", self.offset) + 1 or len(self._data)
        line = self._data[self.offset : end].decode()
        self.offset, self.number = end, self.number + 1
        return line


def _kept_lines(raw: bytes) -> list[str]:
    return [line + "\n" for line in raw.decode().removesuffix("\n").split("\n")]


def _unique(names: list[str]) -> tuple[str, ...]:
    """Columns without a name, or with one that is taken, are numbered."""
    found: list[str] = []
    for place, given in enumerate(names, 1):
        name = given.strip() or f"column {place}"
        while name in found:
            name = f"{name} ({place})"
        found.append(name)
    return tuple(found)
